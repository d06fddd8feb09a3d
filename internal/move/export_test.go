package move

import "testing"

// SmallChunks has copies told of their progress after a few entries, and files end early.
func SmallChunks(t *testing.T, entries, bytes int) {
	n, size := chunkEntries, maxFile
	chunkEntries, maxFile = entries, int64(bytes)
	t.Cleanup(func() { chunkEntries, maxFile = n, size })
}
