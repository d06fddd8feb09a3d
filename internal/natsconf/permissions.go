package natsconf

// roles are all who connect to the log's servers.
var roles = []role{
	{folder: "connector", publish: []string{">"}, subscribe: []string{">"}, answers: true},
	{folder: "projector", publish: []string{">"}, subscribe: []string{">"}, answers: true},
	{folder: gatewayFolder, publish: []string{">"}, subscribe: []string{">"}, answers: true},
	{folder: initFolder, publish: []string{">"}, subscribe: []string{">"}},
}
