module path-proxy

go 1.24
