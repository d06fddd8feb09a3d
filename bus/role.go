package bus

// Role is what a process of a cluster does. The servers know it by its key, and let it do
// what [Permissions] lists.
type Role string

// The roles there are.
const (
	RoleAll       Role = ""          // every role in one process: godwit up
	RoleConnector Role = "connector" // clients' sockets
	RoleProjector Role = "projector" // views
	RoleGateway   Role = "gateway"   // HTTP, files, pictures, webhooks
	RoleInit      Role = "init"      // makes, moves, backs up and restores the log
)

func (r Role) valid() bool {
	switch r {
	case RoleAll, RoleConnector, RoleProjector, RoleGateway, RoleInit:
		return true
	}
	return false
}

// inbox is under what JetStream answers a process of the role. Nobody else may listen there,
// nor write: whoever could would tell a writer that its record was stored.
func (r Role) inbox() string {
	if r == RoleAll {
		return "_INBOX"
	}
	return "_INBOX_" + string(r)
}

// answers is under what the other roles answer its questions. They may write there, which is
// why it is not the inbox.
func (r Role) answers() string {
	if r == RoleAll {
		return "_INBOX"
	}
	return "answer." + string(r)
}
