// A reverse proxy in front of the API server, as cluster managers put it there: it serves the cluster under a path, asks
// for a token of its own, and speaks to the API server with its own certificate. It prints the port that it listens on.
//
// With -fault it is a bad day for a share of the requests:
//
//	busy  429 with Retry-After, and the API server gets nothing
//	drop  the connection breaks, and the API server gets nothing
//	lose  the API server has done it, and the connection breaks before its answer
//	cut   the connection breaks in the middle of the answer
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
	"time"
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
	fault      = flag.String("fault", "", "what happens to a share of the requests: busy, drop, lose or cut")
	faultEvery = flag.Int64("fault-every", 2, "to which share: the first of so many, and so on")
	retryAfter = flag.String("retry-after", "1", "the seconds after which a busy server wants to be asked again")
	faultFor   = flag.String("fault-for", "", "to requests whose method, path and query have this text only")
	delay      = flag.Duration("delay", 0, "how long each request waits before it is carried out")
	gate       = flag.String("gate", "", "file without which requests wait")
	gateFor    = flag.String("gate-for", "", "which of them: those whose method, path and query have this text")
	inFlight   = flag.String("in-flight", "", "file that gets the largest number of requests at once")
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
	now, most := 0, 0
	count := func(change int) {
		mutex.Lock()
		defer mutex.Unlock()
		now += change
		if now > most && *inFlight != "" {
			most = now
			fatal(os.WriteFile(*inFlight, []byte(fmt.Sprintln(most)), 0o600))
		}
	}
	var madeOld atomic.Bool
	handler := func(writer http.ResponseWriter, request *http.Request) {
		mutex.Lock()
		fmt.Fprintln(noteFile, request.Method, request.URL.RequestURI())
		mutex.Unlock()
		count(1)
		defer count(-1)
		time.Sleep(*delay)
		if *gate != "" && strings.Contains(request.Method+" "+request.URL.RequestURI(), *gateFor) {
			for {
				if _, err := os.Stat(*gate); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
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
		if isFaulty(request) {
			switch *fault {
			case "busy":
				writer.Header().Set("Retry-After", *retryAfter)
				http.Error(writer, "too many requests, come back later", http.StatusTooManyRequests)
				return
			case "drop":
				panic(http.ErrAbortHandler)
			case "lose":
				writer = &faultyWriter{ResponseWriter: writer}
			case "cut":
				writer = &faultyWriter{ResponseWriter: writer, begins: true}
			}
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

var faultCandidates atomic.Int64

func isFaulty(request *http.Request) bool {
	if *fault == "" || !strings.Contains(request.Method+" "+request.URL.RequestURI(), *faultFor) {
		return false
	}
	return (faultCandidates.Add(1)-1)%*faultEvery == 0
}

// faultyWriter breaks the connection in place of an answer, or in the middle of its first part.
type faultyWriter struct {
	http.ResponseWriter
	begins bool
}

func (writer *faultyWriter) WriteHeader(status int) {
	if !writer.begins {
		panic(http.ErrAbortHandler)
	}
	writer.ResponseWriter.WriteHeader(status)
}

func (writer *faultyWriter) Write(part []byte) (int, error) {
	if writer.begins {
		_, _ = writer.ResponseWriter.Write(part[:len(part)/2])
		_ = http.NewResponseController(writer.ResponseWriter).Flush()
	}
	panic(http.ErrAbortHandler)
}

func (writer *faultyWriter) Unwrap() http.ResponseWriter { return writer.ResponseWriter }

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
