package connector

import "godwit/connector/reactor"

type loops = reactor.Group

func newLoops() (*loops, error) { return reactor.NewGroup(0) }
