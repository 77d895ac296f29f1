package labour

// Second is a little more than that, in milliseconds: how often drivers look whether their devices answer.
const Second = 1300

// HostPatience is how long a task waits for what the host does, in microseconds: the host may have other machines to run.
const HostPatience = 20_000_000
