# The routes of the abba API. What they do is in the package: ?abba_api_answer, ?abba_api_file.

#* @apiTitle abba

# The core reads the body itself, with bounds of its own on what it may hold.
plumber::register_parser("unread", function(...) function(value, ...) NULL, regex = ".", verbose = FALSE)

#* @plumber
function(pr) abba::abba_api_set_up(pr)

#* @post /submit-job
#* @parser unread
function(req, res) abba::abba_api_answer("submit-job", req, res)

#* @post /submit-batch
#* @parser unread
function(req, res) abba::abba_api_answer("submit-batch", req, res)

#* @get /job-status
#* @post /job-status
#* @parser unread
function(req, res) abba::abba_api_answer("job-status", req, res)

#* @get /job-log
#* @post /job-log
#* @parser unread
function(req, res) abba::abba_api_answer("job-log", req, res)

#* @get /batch-status
#* @parser unread
function(req, res) abba::abba_api_answer("batch-status", req, res)

#* @get /batch-log
#* @parser unread
function(req, res) abba::abba_api_answer("batch-log", req, res)

#* @post /cancel-job
#* @parser unread
function(req, res) abba::abba_api_answer("cancel-job", req, res)

#* @get /jobs
#* @parser unread
function(req, res) abba::abba_api_answer("jobs", req, res)

#* @get /explain-job
#* @parser unread
function(req, res) abba::abba_api_answer("explain-job", req, res)

#* @get /permitted-containers
#* @parser unread
function(req, res) abba::abba_api_answer("permitted-containers", req, res)

#* @get /whoami
#* @parser unread
function(req, res) abba::abba_api_answer("whoami", req, res)

#* @get /health
#* @parser unread
function(req, res) abba::abba_api_answer("health", req, res)

# The page for people, and the description of the API.

#* @get /
#* @parser unread
function(req, res) abba::abba_api_file("index.html", req, res)

#* @get /abba.js
#* @parser unread
function(req, res) abba::abba_api_file("abba.js", req, res)

#* @get /abba.css
#* @parser unread
function(req, res) abba::abba_api_file("abba.css", req, res)

#* @get /openapi.json
#* @parser unread
function(req, res) abba::abba_api_file("openapi.json", req, res)

#* @get /__docs__/
#* @get /__docs__/index.html
#* @parser unread
function(req, res) abba::abba_api_file("docs.html", req, res)

#* @get /__docs__/docs.js
#* @parser unread
function(req, res) abba::abba_api_file("docs.js", req, res)

#* @get /__docs__/swagger-ui-bundle.js
#* @parser unread
function(req, res) abba::abba_api_file("swagger-ui-bundle.js", req, res)

#* @get /__docs__/swagger-ui.css
#* @parser unread
function(req, res) abba::abba_api_file("swagger-ui.css", req, res)
