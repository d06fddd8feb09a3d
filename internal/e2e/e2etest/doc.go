// Package e2etest is what tests of the whole have in common: a client's wire, a world of
// people who talk and the model that the server is held against, and a rig of owners and
// edges in one process whose every link can be cut.
package e2etest
