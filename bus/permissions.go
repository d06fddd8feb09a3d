package bus

import "slices"

// Names of the stores and tables there are, so that one place can make them all and say who
// may use them.
const (
	FilesStore     = "files"
	TransfersTable = "transfers" // of files
	PicturesStore  = "pictures"
	SnapshotsStore = "snapshots" // of views
)

func objectStream(store string) string { return "OBJ_" + store }

const jsAPI = "$JS.API."

// Permissions lists the subjects that a role needs, and no more: under an account of NATS in
// which a role may do just this, its work goes through. A role can't answer in the name of
// JetStream, nor change or delete a stream of the log. Only the keys of a role are told
// apart, not its processes: what one connector may read, all may.
func Permissions(r Role) (publish, subscribe []string) {
	var (
		// Settings of streams are no secret, and reads go to the leaders.
		look    = []string{jsAPI + "STREAM.NAMES", jsAPI + "STREAM.INFO.*", jsAPI + "STREAM.MSG.GET.*"}
		write   = []string{"people.>", presenceEvent, "conversation.>"}
		hear    = []string{r.inbox() + ".>", r.answers() + ".>", beatSubject, projectorSubject}
		answer  = []string{"answer.>"}
		asked   = "$SRV.>" // services say who they are
		lease   = keySubject(leaseBucket, "*")
		node    = slices.Concat(look, write, answer, []string{"view.*", "owner.*.*", EveryNode("*"), beatSubject, keySubject(secretBucket, "*")})
		listens = slices.Concat(hear, []string{"deliver.*", EveryNode("*"), asked})
	)
	switch r {
	case RoleConnector:
		// It offers files and takes them back; their bytes go through the gateway.
		return slices.Concat(node, table(TransfersTable), []string{purge(objectStream(FilesStore))}), listens
	case RoleGateway:
		return slices.Concat(node, table(TransfersTable), store(FilesStore), store(PicturesStore),
			[]string{lease, keySubject(cursorBucket, ">"), keySubject(requestBucket, "*")}), append(listens, lease)
	case RoleProjector:
		return slices.Concat(look, answer, store(SnapshotsStore), []string{
			"deliver.*", projectorSubject, lease, keySubject(epochBucket, "*"),
			jsAPI + "CONSUMER.CREATE.*.>", jsAPI + "CONSUMER.DELETE.*.*", "$JS.FC.>",
		}), slices.Concat(hear, []string{"view.*", "owner.*.*", lease, asked, EveryNode(LiveQuestion)})
	case RoleInit:
		return slices.Concat(write, []string{jsAPI + ">", "$JS.FC.>", "$KV.>", "$O.>"}), append(hear, lease)
	default:
		return []string{">"}, []string{">"}
	}
}

// Denied lists what a role may not publish although Permissions has a wider subject for it:
// it would read what is none of its business.
func Denied(r Role) (publish []string) {
	var none []string
	switch r {
	case RoleConnector:
		none = []string{bucketStream(requestBucket), objectStream(PicturesStore), objectStream(SnapshotsStore)}
	case RoleProjector:
		none = []string{bucketStream(secretBucket), bucketStream(requestBucket), objectStream(FilesStore), objectStream(PicturesStore)}
	case RoleGateway:
		none = []string{objectStream(SnapshotsStore)}
	}
	for _, stream := range none {
		publish = append(publish, jsAPI+"STREAM.MSG.GET."+stream)
		if r == RoleProjector {
			publish = append(publish, jsAPI+"CONSUMER.CREATE."+stream+".>")
		}
	}
	return publish
}

func purge(stream string) string { return jsAPI + "STREAM.PURGE." + stream }

func table(name string) []string {
	return []string{keySubject(name, ">"), purge(bucketStream(name))}
}

func store(name string) []string {
	return []string{"$O." + name + ".>", purge(objectStream(name)), jsAPI + "DIRECT.GET." + objectStream(name) + ".>"}
}
