package delivery

// WithLimits makes the limits of what waits small: of frames behind a refill, and of
// deliveries behind a user's attach.
func (c *Config) WithLimits(frames, user int) { c.waitingLimit, c.userWaitLimit = frames, user }
