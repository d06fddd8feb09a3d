package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// usage is what the kernel says about a process.
type usage struct {
	cpu time.Duration // user and system time
	rss int64         // resident bytes
}

// clockTick is the unit of times in /proc, the same on every Linux.
const clockTick = time.Second / 100

// usageOf reads /proc. A pid of 0 is nobody: everything stays 0.
func usageOf(pid int) (usage, error) {
	if pid == 0 {
		return usage{}, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("server process: %w", err)
	}
	// The name stands in brackets and may hold anything: the fields begin behind it
	// with number 3.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("server process: /proc/%d/stat has %d fields", pid, len(fields))
	}
	var v [3]int64
	for i, at := range []int{14 - 3, 15 - 3, 24 - 3} {
		if v[i], err = strconv.ParseInt(string(fields[at]), 10, 64); err != nil {
			return usage{}, fmt.Errorf("server process: /proc/%d/stat: %w", pid, err)
		}
	}
	return usage{cpu: time.Duration(v[0]+v[1]) * clockTick, rss: v[2] * int64(os.Getpagesize())}, nil
}
