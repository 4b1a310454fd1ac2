// A reverse proxy in front of the API server, as cluster managers put it there: it serves the cluster under a path, asks
// for a token of its own, and speaks to the API server with its own certificate. It prints the port that it listens on.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	upstream   = flag.String("upstream", "", "URL of the API server")
	authority  = flag.String("authority", "", "file with the certificate of its authority")
	clientCert = flag.String("client-certificate", "", "file with the certificate to show to it")
	clientKey  = flag.String("client-key", "", "file with its key")
	serverCert = flag.String("server-certificate", "", "file with the certificate to show to clients; none: plain HTTP")
	serverKey  = flag.String("server-key", "", "file with its key")
	address    = flag.String("address", "127.0.0.1:0", "where to listen")
	prefix     = flag.String("prefix", "", "the path that the cluster is served under")
	token      = flag.String("token", "", "the token that clients must show")
	notes      = flag.String("notes", "", "file that gets a line for each request: method, path and query")
	oldOnce    = flag.Bool("old-version-once", false, "begin the first watch at a version that the API server has forgotten")
)

func main() {
	flag.Parse()
	target, err := url.Parse(*upstream)
	fatal(err)
	pem, err := os.ReadFile(*authority)
	fatal(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	certificate, err := tls.LoadX509KeyPair(*clientCert, *clientKey)
	fatal(err)
	noteFile, err := os.OpenFile(*notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	fatal(err)

	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.Out.URL.Path = strings.TrimPrefix(request.Out.URL.Path, *prefix)
			request.Out.URL.RawPath = strings.TrimPrefix(request.Out.URL.RawPath, *prefix)
			request.SetURL(target)
			request.Out.Header.Del("Authorization")
		},
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
		},
		// Watches and followed logs are streams.
		FlushInterval: -1,
		ErrorLog:      log.New(os.Stderr, "", 0),
	}
	var mutex sync.Mutex
	var madeOld atomic.Bool
	handler := func(writer http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		fmt.Fprintln(noteFile, request.Method, request.URL.RequestURI())
		mutex.Unlock()
		if !strings.HasPrefix(request.URL.Path, *prefix+"/") {
			http.Error(writer, "<html>there is no such cluster</html>", http.StatusNotFound)
			return
		}
		if *token != "" && request.Header.Get("Authorization") != "Bearer "+*token {
			http.Error(writer, "<html>who are you?</html>", http.StatusUnauthorized)
			return
		}
		query := request.URL.Query()
		if *oldOnce && query.Get("watch") == "1" && madeOld.CompareAndSwap(false, true) {
			query.Set("resourceVersion", "1")
			request.URL.RawQuery = query.Encode()
		}
		proxy.ServeHTTP(writer, request)
	}

	listener, err := net.Listen("tcp", *address)
	fatal(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: http.HandlerFunc(handler), ErrorLog: log.New(os.Stderr, "", 0)}
	if *serverCert == "" {
		fatal(server.Serve(listener))
	}
	fatal(server.ServeTLS(listener, *serverCert, *serverKey))
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
