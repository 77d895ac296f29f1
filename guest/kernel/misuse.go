package kernel

// misuse begins the message of a panic for what the caller of a function of the kernel did wrong: an error of wiring, or, in a capsule,
// the capsule's failure (contain.go).
const misuse = "misuse: "
