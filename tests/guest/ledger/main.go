//go:build kapsel_task

// Command ledger counts its lives in the key-value store, and tries each of its calls. Tests give its object other storage permissions.
package main

import (
	"kapsel/guest/abi"
	"kapsel/guest/task"
)

//kapsel:storage write=1 read=1 modify=1

// check ends the task if a call returned another error than it should.
func check(what string, got, want error) {
	if got == want {
		return
	}
	text := "no error"
	if got != nil {
		text = got.Error()
	}
	task.Print("ledger: " + what + ": " + text + "\n")
	task.Exit(1)
}

// page is a value of the largest size, of one byte throughout.
var page, got [2048]byte

// checkPage checks that a key has the page.
func checkPage(key string) {
	n, err := task.GetValue(key, got[:])
	check("get "+key, err, nil)
	if n != len(page) || got != page {
		task.Print("ledger: " + key + " is torn\n")
		task.Exit(1)
	}
}

func main() {
	var lives [1]byte
	n, err := task.GetValue("lives", lives[:])
	if err != nil {
		check("get lives", err, abi.NOSUPPORT)
		check("add lives", task.AddValue("lives", lives[:]), nil)
	} else {
		if n != 1 {
			task.Exit(1)
		}
		for i := range page {
			page[i] = lives[0]
		}
		checkPage("page")
	}
	task.Print("ledger: found " + task.Decimal(uint64(lives[0])) + "\n")
	lives[0]++
	for i := range page {
		page[i] = lives[0]
	}
	check("set page", task.SetValue("page", page[:]), nil)
	check("update lives", task.UpdateValue("lives", lives[:]), nil)
	checkPage("page")
	n, err = task.GetValue("page", got[:10])
	check("get a part", err, abi.SIZE)
	if n != len(page) {
		task.Exit(1)
	}
	check("add page", task.AddValue("page", nil), abi.NOSUPPORT)
	check("update none", task.UpdateValue("none", nil), abi.NOSUPPORT)
	check("set", task.SetValue("gone", page[:100]), nil)
	check("delete", task.DeleteValue("gone"), nil)
	_, err = task.GetValue("gone", got[:])
	check("get what is gone", err, abi.NOSUPPORT)
	task.Print("ledger: done\n")
	task.Exit(0)
}
