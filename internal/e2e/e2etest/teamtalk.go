package e2etest

import (
	"fmt"
	"strings"
)

// TeamTalkTables is the beginning of a dump of a TeamTalk's database: its empty tables.
func TeamTalkTables() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE `IMUser` (`id` int, `sex` int, `name` varchar(32), `domain` varchar(32), `nick` varchar(32), `password` varchar(32), `salt` varchar(4), `phone` varchar(11), `email` varchar(64), `avatar` varchar(255), `departId` int, `status` int, `created` int, `updated` int, `push_shield_status` int, `sign_info` varchar(128));\n" +
		"CREATE TABLE `IMDepart` (`id` int, `departName` varchar(64), `priority` int, `parentId` int, `status` int, `created` int, `updated` int);\n" +
		"CREATE TABLE `IMGroup` (`id` int, `name` varchar(256), `avatar` varchar(256), `creator` int, `type` int, `userCnt` int, `status` int, `version` int, `lastChated` int, `updated` int, `created` int);\n" +
		"CREATE TABLE `IMGroupMember` (`id` int, `groupId` int, `userId` int, `status` int, `created` int, `updated` int);\n" +
		"CREATE TABLE `IMRelationShip` (`id` int, `smallId` int, `bigId` int, `status` int, `created` int, `updated` int);\n")
	for i := range 8 {
		fmt.Fprintf(&b, "CREATE TABLE `IMMessage_%d` (`id` int, `relateId` int, `fromId` int, `toId` int, `msgId` int, `content` varchar(4096), `type` int, `status` int, `updated` int, `created` int);\n", i)
		fmt.Fprintf(&b, "CREATE TABLE `IMGroupMessage_%d` (`id` int, `groupId` int, `userId` int, `msgId` int, `content` varchar(4096), `type` int, `status` int, `updated` int, `created` int);\n", i)
	}
	return b.String()
}
