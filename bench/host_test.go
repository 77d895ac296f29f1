package bench

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

// files is a system's files.
func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

const cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmicrocode\t: 0xa0011d1\nflags\t\t: fpu svm\n\nprocessor\t: 1\nmodel name\t: another\n"

func TestReadHost(t *testing.T) {
	const cpu = "sys/devices/system/cpu/"
	assert.Equal(t, Host{
		CPU: "AMD EPYC 7B13", Microcode: "0xa0011d1", Kernel: "6.1.0-56-amd64", KVM: "kvm_amd",
		Mitigations: "meltdown=PTI; spectre_v2=Retpolines, IBPB: conditional; tsx_async_abort=Vulnerable",
		Governor:    "performance", Turbo: "on",
	}, ReadHost(files(
		"proc/cpuinfo", cpuinfo,
		"proc/sys/kernel/osrelease", "6.1.0-56-amd64\n",
		"sys/module/kvm_amd/parameters/npt", "1\n",
		cpu+"vulnerabilities/meltdown", "Mitigation: PTI\n",
		cpu+"vulnerabilities/l1tf", "Not affected\n",
		cpu+"vulnerabilities/spectre_v2", "Mitigation: Retpolines; IBPB: conditional\n",
		cpu+"vulnerabilities/tsx_async_abort", "Vulnerable\n",
		cpu+"cpu0/cpufreq/scaling_governor", "performance\n",
		cpu+"cpufreq/boost", "1\n",
	)))
	h := ReadHost(files("proc/cpuinfo", "flags: fpu hypervisor\n", "sys/module/kvm_intel/x", "",
		cpu+"vulnerabilities/l1tf", "Not affected", cpu+"intel_pstate/no_turbo", "1\n"))
	assert.Equal(t, Host{KVM: "kvm_intel", Virtual: true, Mitigations: "none needed", Turbo: "off"}, h)
	assert.Equal(t, Host{KVM: "neither kvm_intel nor kvm_amd", Mitigations: "unknown"}, ReadHost(files()))
}

func TestFacts(t *testing.T) {
	facts := Host{CPU: "c", Kernel: "6.1", KVM: "kvm_amd", Virtual: true, Mitigations: "none needed"}.Facts("kvm", true)
	assert.Equal(t, []Fact{{"goos", "linux"}, {"goarch", "amd64"}, {"pkg", "kapsel"}, {"cpu", "c"}, {"kernel", "Linux 6.1"},
		{"accel", "kvm"}, {"kvm", "kvm_amd, nested: this host is a virtual machine"}, {"mitigations", "none needed"}}, facts)
	facts = Host{CPU: "c", Kernel: "6.1", KVM: "kvm_amd", Governor: "performance"}.Facts("qemu", false)
	assert.NotContains(t, facts, Fact{"kvm", "kvm_amd"})
	assert.Contains(t, facts, Fact{"governor", "performance"})
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		host  Host
		noKVM error
		want  []string
	}{
		{"all is well", Host{Governor: "performance", Turbo: "off"}, nil, nil},
		{"nested", Host{Virtual: true}, nil, []string{"nested or emulated"}},
		{"in software", Host{Virtual: true}, errors.New("no SSE"), []string{"cycles mean nothing: no SSE", "nested"}},
		{"a governor", Host{Governor: "powersave", Turbo: "on"}, nil, []string{"the governor is powersave", "turbo is on"}},
		{"no governor", Host{}, nil, []string{"shows no governor"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.host.Warnings(tt.noKVM)
			assert.Len(t, got, len(tt.want))
			for i := range min(len(got), len(tt.want)) {
				assert.Contains(t, got[i], tt.want[i])
			}
		})
	}
}
