# Builds an application of libtock-c for 32-bit x86, as it is, with the files beside this one (docs/tock.md):
#   make -f .../guest/tock32/libtock.mk LIBTOCK=DIR NEWLIB=DIR APP=DIR OUT=DIR
# makes OUT/NAME.elf, NAME being that of the application's directory. LIBTOCK is libtock-c, NEWLIB has include and lib of newlib.
# STACK_SIZE is the application's, if it says none.

here := $(dir $(lastword $(MAKEFILE_LIST)))
CC := gcc -m32
STACK_SIZE ?= 2048
name := $(notdir $(abspath $(APP)))
stack := $(or $(shell sed -n 's/^ *STACK_SIZE *:*= *//p' $(APP)/Makefile),$(STACK_SIZE))

CFLAGS := -std=gnu2x -U__linux__ -march=pentium4 -mfpmath=sse -Os -g -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
    -ffunction-sections -fdata-sections -isystem $(NEWLIB)/include -I$(LIBTOCK) -I$(LIBTOCK)/libtock
LDFLAGS := -nostdlib -static -no-pie -Wl,--gc-sections,--build-id=none,--defsym=STACK_SIZE=$(stack),-T,$(here)tock32.ld

# A newlib for a system that it does not know calls what libtock-c has with an underscore in front.
syscalls := close fstat getpid isatty kill lseek open read sbrk unlink write
LDFLAGS += $(foreach f,$(syscalls),-Wl,--defsym=$(f)=_$(f))

library := $(filter-out %/crt0.c,$(shell find $(LIBTOCK)/libtock $(LIBTOCK)/libtock-sync -name '*.c'))
sources := $(here)start.S $(here)libtock.c $(here)service.c $(here)environment.c $(library) $(wildcard $(APP)/*.c)
objects := $(patsubst %,$(OUT)/%.o,$(subst ../,,$(sources)))

$(OUT)/$(name).elf: $(objects) $(here)tock32.ld
	$(CC) $(LDFLAGS) -o $@ $(objects) -L$(NEWLIB)/lib -Wl,--start-group -lc -lm -lgcc -Wl,--end-group

define object
$(OUT)/$(subst ../,,$(1)).o: $(1)
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) -c -o $$@ $$<
endef
$(foreach source,$(sources),$(eval $(call object,$(source))))
