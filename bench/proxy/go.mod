module proxybench
go 1.22
