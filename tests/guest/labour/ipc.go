//go:build kapsel_task

package labour

import "kapsel/guest/abi"

// What the tasks asks and turns make of a page: the first half is the question, the second the answer. Each ends with the number of the question.
const (
	half    = abi.PageSize / 2
	numbers = half - 1
)

// Ask puts a question into a page.
func Ask(page []byte, i int) {
	Fill(page[:numbers], i)
	page[numbers] = byte(i + 1)
}

// Turn puts the answer there.
func Turn(page []byte) {
	number := page[numbers]
	for j, b := range page[:numbers] {
		page[half+j] = b ^ 0x5a
	}
	page[half+numbers] = number
}

// Answered reports whether question i is answered.
func Answered(page []byte, i int) bool { return page[half+numbers] == byte(i+1) }

// Turned reports whether the answer is right.
func Turned(page []byte) bool {
	for j, b := range page[:numbers] {
		if page[half+j] != b^0x5a {
			return false
		}
	}
	return true
}
