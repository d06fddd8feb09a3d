// Package schema is the ground that every part of godwit stands on: the words of the system and their bytes.
//
// client and pdu are the wire of TeamTalk clients; event, frame and query are what the parts write to the log and say to
// each other. Nothing under schema imports another part. The Go code of all .proto files is committed; scripts/generate
// makes it, and scripts/generate --check proves it fresh.
package schema

//go:generate ../scripts/generate
