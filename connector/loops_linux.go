package connector

import "godwit/connector/reactor"

func newLoops() (*reactor.Group, error) { return reactor.NewGroup(0) }
