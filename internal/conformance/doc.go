// Package conformance holds the whole server, over real sockets, against the TeamTalk
// protocol.
//
// It has tests only. They were written from the protocol's tables and from the rules
// that original clients depend on, not from the server's code: every byte that goes out
// is made by hand (package connectortest), and every answer and push is compared byte for
// byte with what the tables say, so that neither side can agree with its own mistake. Of
// package schema/client it takes the list of command numbers, and only to find a command
// that has no case here.
//
// The server is what the program runs, in this process: log, views, connector, admin
// API, HTTP and file server, on free ports, over a directory of the test's own. One serves
// all tests, each of which has people of its own; a second one serves those of the other
// configuration: contacts that are friends, and what can be switched off is.
//
//	go test ./internal/conformance                     all
//	go test ./internal/conformance -run Commands/0x0301
//	go test ./internal/conformance -run 'Rule13' -timeout 0 -args -silence 4m
package conformance
