// Package cluster tests godwit as a cluster: three NATS servers with their routes, several
// owners and edges and a crowd of clients in one process, of which any part is killed, cut
// off, stopped for a while or restarted. Some parts are processes of their own where only
// that makes the fault real. It has no code besides its tests.
//
// Flags, after -args: -rounds of every fault, -seed of its random choices (0 takes one and
// prints it where a test fails), -pause for which processes are stopped.
package cluster
