// Package bus is the road between the rooms: the log in JetStream, frames and
// questions over core NATS, and leases. It is the only package that speaks NATS; it
// looks into no event beyond what it takes to put one in a record.
package bus
