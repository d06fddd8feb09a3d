// Package e2e tests godwit as its users meet it: the program as a process that is
// killed, starved of disk and lied to, and the parts wired in one process with
// faults in between. It has no code besides its tests.
//
// Flags, after -args: -rounds of every kill test, -seed of its random choices (0
// takes one and prints it), -durability of the levels to test, -duration of load
// where a test runs for a time, -race-child to build the program with the race
// detector.
package e2e
