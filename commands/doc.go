// Package commands decides: from a request and what the views say it makes the one event to append, or a refusal.
//
// Every command is a struct that brings everything along: who asks, what is asked, the time, new ids. Its Decide takes the
// state, a small struct of what the views know that matters (its zero value is a world that holds nothing), and
// returns one event or an error:
//
//   - a [*Refusal]: a rule says no. It is one of the named values of this package, has a stable [Refusal.Name] for
//     metrics, and goes to the client as the protocol has it: a result code, an unanswered request. Nothing is appended.
//   - [ErrIncomplete]: the caller left out an id, a time or a user. That is a defect of the caller, not of the client.
//
// A decision is pure: no input or output, no clock, no randomness, no state of its own; the same arguments give the same
// event. It may be taken from any goroutine. An event may share memory with its command (the body of a message does),
// so neither may be changed while the event lives.
//
// The views may be behind the log, so a decision is a courtesy to the client and a saving for the log; the last word is the
// fold's, by the rules of package event. A state that is too permissive costs an event without effect, never a wrong one.
//
// | stream | commands |
// | --- | --- |
// | PEOPLE | [RegisterPerson] [ChangePassword] [DisablePerson] [EnablePerson] [Befriend] [Unfriend] |
// | PRESENCE | [OpenSession] [EndSession] [KickDesktop] [StartNode] [StopNode] [LoseNode] |
// | CONVERSATION-pp | [SendMessage] [AdvanceRead] [AdvanceDelivered] [RemoveEntry] [RecallMessage] [EditMessage] [CreateGroup] [ChangeMembers] [UpdateGroup] [ShieldGroup] [OfferFile] [RemoveFile] |
package commands
