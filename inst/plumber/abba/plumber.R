# The routes of the abba API. What they do is in the package: ?abba_api_answer.

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
