package labour

// Typed is what is typed at the machine, again and again: commands of the process console that leave tasks alone.
const Typed = "status\nprocess nobody\nlost\nlist\n"

// Argument is the first argument of the tasks where they are given any; the second is empty.
const Argument = "remember"
