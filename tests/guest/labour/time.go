package labour

// Second is a little more than that, in milliseconds: how often drivers look whether their devices answer.
const Second = 1300
