# An abba server: the options of your department, and the routes of the package abba.
#
# An option that cannot be right keeps the server from starting, and is named in the log of the server. What stands
# here is what holds without it; what is commented out has no default.

options(
  # --- What programs run in ---------------------------------------------------------------------------------------

  # The container image of a request that names none. It is permitted by being here.
  # abba.default.container = "registry.example.com/openval_4.2.1_focal:2023.09.0.02",

  # The other images that callers may name, word for word. A name with a digest ("...@sha256:...") stays what it is.
  abba.permitted.containers = character(),

  # The least and the largest limits that callers may ask for: processor cores, and memory as Kubernetes writes it.
  abba.lower.cpu.limit = 0.001,
  abba.cpu.limit = 2,
  abba.lower.memory.limit = "128M",
  abba.memory.limit = "1G",

  # The queues of Kueue that callers may name. Programs that name none go through the first.
  # abba.permitted.queues = c("day", "night"),
  abba.permitted.queues = character(),

  # How long a program may run, in seconds, and how much of its node's disk it may fill: of one that does not say, and at
  # most. Without them there is no bound.
  # abba.api.default.time.limit = 3600,
  # abba.api.time.limit = 24 * 3600,
  # abba.api.default.disk.limit = "2G",
  # abba.api.disk.limit = "20G",

  # --- What programs may read and write ----------------------------------------------------------------------------

  # Job templates by the names that callers may give, each a list or a file; "default" is for programs that name none.
  # abba.permitted.templates = list(default = "/etc/abba/job.yaml", gpu = "/etc/abba/gpu.yaml"),

  # Folders of NFS servers that callers may mount, each with all that is below it. A program reads there what its
  # owner may read. No other kind of volume is ever mounted for a caller.
  # abba.permitted.mounts = list(list(server = "192.0.2.1", path = "/studies")),
  abba.permitted.mounts = list(),

  # The NFS server of the home folders; with it, callers may have theirs mounted (`auto_mount_home`).
  # abba.home.nfs.ip.address = "192.0.2.1",

  # The folders that hold homes; no other home is mounted. Without it: /home.
  # abba.home.path = "/home",

  # --- The cluster -------------------------------------------------------------------------------------------------

  # The namespace of all jobs. Without it: that of kubectl's current context.
  # abba.k8s.namespace = "abba",

  # For how many days the cluster keeps a job and its log after its end. Without it: seven.
  # abba.k8s.keep.days = 7,

  # The folder of an archive, from which callers are answered for jobs that the cluster has forgotten; and whether the
  # server itself saves there what ends: see vignette("api_setup").
  # abba.archive = "/nfs/abba-archive",
  abba.api.archive = FALSE,

  # The private key that records are signed with that the server saves into the archive.
  # abba.record.key = "/etc/abba/record-key.pem",

  # What counts as an error or a warning in a log, beside R's own messages.
  # abba.log.patterns = list(errors = "^ERROR:", warnings = "^WARNING:"),

  # The kubectl program, where it is not on the PATH.
  # abba.kubectl = "/usr/local/bin/kubectl",

  # Seconds that a request to the cluster may take; after that the caller is told that it does not answer.
  abba.api.cluster.timeout = 10,

  # For how many seconds the answer to one caller's question about jobs is good enough for the next one's.
  abba.api.snapshot.seconds = 1,

  # --- Who may do what ---------------------------------------------------------------------------------------------

  # How callers are known. "connect": Posit Connect says it, with a secret that it gives to its content. "keys": each has an
  # API key. "proxy": a proxy that people log in to says it. "local": this is a server for yourself.
  abba.api.identity = "connect",

  # The file of API keys, made by abba_api_key_create(), for "keys".
  # abba.api.keys = "/etc/abba/api-keys",

  # The header in which the proxy says who the caller is, for "proxy".
  # abba.api.proxy.header = "X-Forwarded-User",

  # The least user number that programs run as, and the least group number: accounts of people begin there. Without the
  # first: what the machine says (`UID_MIN` in /etc/login.defs). Without the second: the first.
  # abba.api.least.uid = 1000,
  # abba.api.least.gid = 1000,

  # Whether accounts are refused whose shell lets nobody log in (nologin).
  abba.api.refuse.nologin = FALSE,

  # What members of groups of accounts have in place of these options: by a name of your choice, the groups and options.
  # abba.api.profiles = list(
  #   biostat = list(groups = "biostat", abba.cpu.limit = 16, abba.memory.limit = "64G")
  # ),

  # Users who see, read and cancel the jobs of everybody.
  abba.api.operators = character(),

  # --- How much ----------------------------------------------------------------------------------------------------

  # Requests of one caller in a minute, and the jobs that these may make.
  abba.api.requests.per.minute = 300,
  abba.api.jobs.per.minute = 3000,

  # Jobs of one caller that have not ended.
  abba.api.open.jobs = 500,

  # The sums of their `cpu_limit` and of their `memory_limit`. Without them there is no bound.
  # abba.api.open.cpu = 64,
  # abba.api.open.memory = "256G",

  # Jobs of one caller that the cluster keeps, those that have ended too, and the bytes of the programs that they carry.
  abba.api.kept.jobs = 5000,
  abba.api.kept.program.bytes = 128 * 1024^2,

  # How many servers there are on the namespace: several tell each other what they are about to submit.
  # abba.api.servers = 2,

  # Requests of one caller that are under way.
  abba.api.requests.at.once = 8,

  # Requests that read logs at a time, of all callers, who take turns; and for how many seconds one waits for its turn.
  abba.api.log.reads = 4,
  abba.api.log.wait = 20,

  # How much the programs of one request may come to, in bytes: what they have in common counts for each.
  abba.api.batch.bytes = 64 * 1024^2,

  # Volumes of a program, and volume mounts, at most 32.
  abba.api.mounts = 32,

  # Requests in a minute that no known caller has sent, of all together.
  abba.api.strangers.per.minute = 600,

  # How much of a log one answer holds, in bytes.
  abba.api.log.page.bytes = 4 * 1024^2,

  # The largest request, in bytes; a larger one is refused before it is read.
  abba.api.largest.request = 8 * 1024^2,

  # --- The record --------------------------------------------------------------------------------------------------

  # A file for the log of decisions, lines of JSON. Without it the lines go to the log of the server (on Posit Connect:
  # the content's log).
  # abba.api.log = "/var/log/abba/decisions.jsonl",

  # Whether nothing is done that cannot be written into that log.
  abba.api.log.required = FALSE,

  # Proxies whose word is taken on the address that a request comes from: addresses, or networks such as "192.0.2.0/24".
  abba.api.trusted.proxies = character(),

  # Who may read the figures for Prometheus (/metrics): "callers" that are known, "operators", or "anybody".
  abba.api.metrics = "callers"
)

# The routes are the package's, so that they are updated with it.
#* @plumber
function(pr) {
  abba <- plumber::plumb_api("abba", "abba")
  for (preempt in names(abba$endpoints)) {
    for (route in abba$endpoints[[preempt]]) {
      pr$handle(endpoint = route, preempt = preempt)
    }
  }
  abba::abba_api_set_up(pr)
}
