package labour

// Typed is what is typed at the machine, again and again: commands of the process console that leave tasks alone.
const Typed = "status\nprocess nobody\nlost\nlist\n"
