# The routes of the abba API. What they do is in the package: ?abba_api_answer, ?abba_api_file.

#* @apiTitle abba

# `@preempt __first__`: before plumber's own filters, which read cookies, query and body in a way that
# a caller can break; the package reads what it needs itself, with bounds on what it may hold.

#* @plumber
function(pr) abba::abba_api_set_up(pr)

#* @post /submit-job
#* @preempt __first__
function(req, res) abba::abba_api_answer("submit-job", req, res)

#* @post /submit-batch
#* @preempt __first__
function(req, res) abba::abba_api_answer("submit-batch", req, res)

#* @get /job-status
#* @post /job-status
#* @preempt __first__
function(req, res) abba::abba_api_answer("job-status", req, res)

#* @get /job-log
#* @post /job-log
#* @preempt __first__
function(req, res) abba::abba_api_answer("job-log", req, res)

#* @get /batch-status
#* @preempt __first__
function(req, res) abba::abba_api_answer("batch-status", req, res)

#* @get /batch-log
#* @preempt __first__
function(req, res) abba::abba_api_answer("batch-log", req, res)

#* @get /batch-arguments
#* @preempt __first__
function(req, res) abba::abba_api_answer("batch-arguments", req, res)

#* @post /cancel-job
#* @preempt __first__
function(req, res) abba::abba_api_answer("cancel-job", req, res)

#* @get /jobs
#* @preempt __first__
function(req, res) abba::abba_api_answer("jobs", req, res)

#* @get /explain-job
#* @preempt __first__
function(req, res) abba::abba_api_answer("explain-job", req, res)

#* @get /permitted-containers
#* @preempt __first__
function(req, res) abba::abba_api_answer("permitted-containers", req, res)

#* @get /whoami
#* @preempt __first__
function(req, res) abba::abba_api_answer("whoami", req, res)

#* @get /health
#* @preempt __first__
function(req, res) abba::abba_api_answer("health", req, res)

# The page for people, and the description of the API.

#* @get /
#* @preempt __first__
function(req, res) abba::abba_api_file("index.html", req, res)

#* @get /abba.js
#* @preempt __first__
function(req, res) abba::abba_api_file("abba.js", req, res)

#* @get /abba.css
#* @preempt __first__
function(req, res) abba::abba_api_file("abba.css", req, res)

#* @get /openapi.json
#* @preempt __first__
function(req, res) abba::abba_api_file("openapi.json", req, res)

#* @get /__docs__/
#* @get /__docs__/index.html
#* @preempt __first__
function(req, res) abba::abba_api_file("docs.html", req, res)

#* @get /__docs__/docs.js
#* @preempt __first__
function(req, res) abba::abba_api_file("docs.js", req, res)

#* @get /__docs__/swagger-ui-bundle.js
#* @preempt __first__
function(req, res) abba::abba_api_file("swagger-ui-bundle.js", req, res)

#* @get /__docs__/swagger-ui.css
#* @preempt __first__
function(req, res) abba::abba_api_file("swagger-ui.css", req, res)
