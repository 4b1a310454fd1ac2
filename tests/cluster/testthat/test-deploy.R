# The manifests of inst/deploy: applied with an overlay, in namespaces of their own; the server is used through its
# Service, and each rule of the admission policies is broken once, as the server's own account.
#
# Pods of this cluster reach nothing, so the server gets the node's network, on loopback. No network plug-in acts on
# NetworkPolicies here: that they are accepted, and what they say, is all that is seen of them.

name <- unique_name("deploy")
server_namespace <- paste0(name, "-server")
programs_namespace <- paste0(name, "-programs")
servers_account <- paste0("system:serviceaccount:", server_namespace, ":abba")
local_abba(programs_namespace)

# A copy of the manifests that has other names for the two namespaces and all that is called after them.
folder <- withr::local_tempdir("deploy-")
file.copy(file.path(repository, "inst/deploy", c("base", "nfs", "example")), folder, recursive = TRUE)
for (file in list.files(folder, full.names = TRUE, recursive = TRUE)) {
  lines <- gsub("abba-server", server_namespace, readLines(file), fixed = TRUE)
  writeLines(gsub("abba-programs", programs_namespace, lines, fixed = TRUE), file)
}

port <- free_port()
image <- strsplit(cluster("server-image", find.package("abba")), ":(?=[^:]*$)", perl = TRUE)[[1L]]
lists <- list(
  `abba/images` = r_image, `abba/nfs` = "192.0.2.1 /studies\n192.0.2.2\t /data/", `abba/secrets` = "database\n",
  `abba/volume-kinds` = "projected"
)
# What a site writes: the image, the accounts and the lists. The rest is because of this cluster.
overlay <- list(
  apiVersion = "kustomize.config.k8s.io/v1beta1", kind = "Kustomization", resources = list("../nfs"),
  images = list(list(name = "abba", newName = image[[1L]], newTag = image[[2L]])),
  configMapGenerator = list(list(
    name = "abba-accounts", namespace = server_namespace, behavior = "merge", files = list("passwd", "group"),
    options = list(disableNameSuffixHash = TRUE)
  )),
  patches = lapply(list(
    list(apiVersion = "v1", kind = "Namespace", metadata = list(name = programs_namespace, annotations = lists)),
    list(
      apiVersion = "v1", kind = "Namespace",
      metadata = list(name = server_namespace, labels = list(`pod-security.kubernetes.io/enforce` = "privileged"))
    ),
    list(
      apiVersion = "apps/v1", kind = "Deployment", metadata = list(name = "abba", namespace = server_namespace),
      spec = list(template = list(spec = list(
        hostNetwork = TRUE,
        containers = list(list(
          name = "server",
          ports = list(
            list(containerPort = 8000, `$patch` = "delete"), list(name = "http", containerPort = port, hostPort = port)
          ),
          env = list(
            list(name = "ABBA_HOST", value = "127.0.0.1"), list(name = "ABBA_PORT", value = as.character(port)),
            list(name = "KUBERNETES_SERVICE_HOST", value = "127.0.0.1"),
            list(name = "KUBERNETES_SERVICE_PORT", value = "6443")
          )
        ))
      )))
    )
  ), function(patch) list(patch = as.character(jsonlite::toJSON(patch, auto_unbox = TRUE))))
)
site <- file.path(folder, "site")
dir.create(site)
write_site <- function(file, ...) writeLines(c(...), file.path(site, file))
write_site("kustomization.yaml", jsonlite::toJSON(overlay, auto_unbox = TRUE))
write_site("passwd", "mike:x:5001:5001:Mike:/home/mike:/bin/sh")
write_site("group", "mike:x:5001:", "study:x:5100:mike")

# Also what is left of manifests of which one was refused.
withr::defer(kubectl("delete", "--kustomize", site, "--ignore-not-found", "--wait=false"))
kubectl("apply", "--kustomize", site)
in_server_namespace <- function(...) kubectl("--namespace", server_namespace, ...)
in_server_namespace("create", "secret", "generic", "abba-api-keys", "--from-literal=api-keys=")
in_server_namespace("rollout", "status", "deployment/abba", "--timeout=300s")

# As the administrator makes a key: in the pod, where the accounts are, in a copy of the file, which then is the Secret.
make_key <- function(user) {
  in_pod <- function(...) in_server_namespace("exec", "deployment/abba", "--container=server", "--", ...)
  code <- paste0(
    "invisible(file.copy('/etc/abba-keys/api-keys', '/tmp/keys', overwrite = TRUE)); Sys.chmod('/tmp/keys', '600');",
    "cat(abba::abba_api_key_create('", user, "', '/tmp/keys'))"
  )
  key <- in_pod("Rscript", "--vanilla", "-e", code)
  file <- withr::local_tempfile(lines = lines_of(in_pod("cat", "/tmp/keys")))
  secret <- in_server_namespace(
    "create", "secret", "generic", "abba-api-keys", paste0("--from-file=api-keys=", file), "--dry-run=client",
    "--output=json"
  )
  apply_manifest(secret, server_namespace)
  # The node looks at a pod that has changed at once, else each minute.
  in_server_namespace("annotate", "pods", "--all", "--overwrite", unique_name("seen=now"))
  key
}

# The Service, on a port of this machine.
forward <- processx::process$new(
  real_kubectl,
  c("--kubeconfig", cluster_kubeconfig(), "--namespace", server_namespace, "port-forward", "service/abba", ":80"),
  stdout = "|", stderr = withr::local_tempfile()
)
withr::defer(forward$kill())
said <- character()
forwarded <- "^Forwarding from 127[.]0[.]0[.]1:([0-9]+) .*"
wait_until(function() {
  said <<- c(said, forward$read_output_lines())
  any(grepl(forwarded, said))
}, what = "the way to the Service")
withr::local_envvar(
  ABBA_API_ADDRESS = paste0("http://127.0.0.1:", sub(forwarded, "\\1", grep(forwarded, said, value = TRUE)[[1L]])),
  ABBA_API_KEY = make_key("mike")
)

test_that("a program is submitted, read and cancelled with the pod's own login", {
  wait_until(function() identical(abba_check_api()$user, "mike"), 180, what = "the key in the pod")
  id <- abba_submit_job(local_program(c("system('id')", "cat('ran\\n')")), cpu_limit = 0.2)$job_id
  # The account's numbers and groups are those of the ConfigMap.
  expect_identical(unlist(abba_wait_for_job_log(id)[[1L]]$log), c("uid=5001 gid=5001 groups=5001,5100", "ran"))
  waits <- abba_submit_job(local_program("Sys.sleep(600)"), cpu_limit = 0.2)$job_id
  expect_true(abba_cancel_job(waits)$done %in% c("stopped", "kept from starting"))
  # Taken by server and policy alike; nobody serves it here.
  mounts <- list(
    volumes = list(list(name = "data", nfs = list(server = "192.0.2.2", path = "/data/s1"))),
    volumeMounts = list(list(name = "data", mountPath = "/data"))
  )
  with_data <- abba_submit_job(local_program("1"), cpu_limit = 0.2, mounts = mounts)$job_id
  wait_until(function() has_pod(with_data), what = "the pod with NFS, which this level of Pod Security takes")
  expect_true(abba_cancel_job(with_data)$done %in% c("stopped", "kept from starting"))
})

test_that("what has ended is removed with the pod's own login", {
  id <- abba_submit_job(local_program("cat('ran\\n')"), cpu_limit = 0.2)$job_id
  abba_wait_for_job_log(id)
  expect_identical(abba_remove_job(id)$done, "removed")
})

test_that("the server is nobody in particular, and its image cannot be changed", {
  in_pod <- function(...) in_server_namespace("exec", "deployment/abba", "--container=server", "--", ...)
  expect_identical(lines_of(in_pod("id", "-u")), "900")
  expect_error(in_pod("touch", "/usr/x"), "Read-only file system")
  expect_match(in_pod("grep", "CapEff", "/proc/1/status"), "0000000000000000")
  # All rights of its account, a word for each, without those that everybody has.
  rights <- function(namespace) {
    review <- list(
      apiVersion = "authorization.k8s.io/v1", kind = "SelfSubjectRulesReview", spec = list(namespace = namespace)
    )
    file <- withr::local_tempfile(lines = jsonlite::toJSON(review, auto_unbox = TRUE), fileext = ".json")
    rules <- kubectl_json(
      "create", "--as", servers_account, "--validate=false", "--filename", file
    )$status$resourceRules
    words <- lapply(rules, function(rule) {
      paste(unlist(rule$verbs), rep(unlist(rule$resources), each = length(rule$verbs)))
    })
    grep("selfsubject", unlist(words), value = TRUE, invert = TRUE)
  }
  # Those of the README, and to look at the namespace itself.
  documented <- lapply(documented_role, function(rule) paste(rule$verbs, rule$resources))
  expect_setequal(rights(programs_namespace), c(unlist(documented), "get namespaces"))
  expect_identical(rights(server_namespace), character())
})

# A Job as the server has made it, to be made anew under another name.
job_of_server <- function() {
  items <- kubectl_json("get", "jobs", "--namespace", programs_namespace)$items
  job <- items[[1L]]
  job$status <- job$metadata[c("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")] <- NULL
  job$metadata$name <- unique_name("probe")
  job$spec$selector <- NULL
  of_cluster <- "^(batch[.]kubernetes[.]io/)?(controller-uid|job-name)$"
  without <- function(labels) labels[!grepl(of_cluster, names(labels))]
  job$metadata$labels <- without(job$metadata$labels)
  job$spec$template$metadata$labels <- without(job$spec$template$metadata$labels)
  # Of one that was cancelled.
  job$spec$activeDeadlineSeconds <- NULL
  # Lists of one in JSON.
  container <- job$spec$template$spec$containers[[1L]]
  container$command <- as.list(container$command)
  job$spec$template$spec$containers <- list(container)
  job
}

# What the cluster says to objects of the server's account, each by its name: "" where it would take it. Nothing is
# kept. kubectl goes on after one that is refused, and has a line for each.
words_of <- function(..., objects = list(...), verb = "create", account = servers_account) {
  file <- withr::local_tempfile(fileext = ".json")
  all <- list(apiVersion = "v1", kind = "List", items = objects)
  writeLines(as.character(jsonlite::toJSON(all, auto_unbox = TRUE, null = "null", digits = NA)), file)
  # Not kubectl(): R cuts what conditions say.
  said <- processx::run(real_kubectl, c(
    "--kubeconfig", cluster_kubeconfig(), verb, "--as", account, "--namespace", programs_namespace,
    "--dry-run=server", "--filename", file
  ), error_on_status = FALSE)$stderr
  vapply(objects, function(object) {
    paste(grep(paste0("\"", object$metadata$name, "\""), lines_of(said), value = TRUE, fixed = TRUE), collapse = "\n")
  }, "")
}

replace_in <- function(object, kind, name, value) {
  object$metadata[[kind]][[name]] <- value
  object
}

# The policies act a moment after they are stored.
wait_for_policies <- function() {
  job <- job_of_server()
  job$spec$template$spec$hostNetwork <- TRUE
  wait_until(function() grepl("ValidatingAdmissionPolicy", words_of(job)), what = "the policies")
}

test_that("each rule of what the server may make is kept, whoever has its token", {
  wait_for_policies()
  good <- job_of_server()
  expect_identical(words_of(good), "")
  # Of the pod, its security context, its container or the container's: fields that are set, NULL to take one away.
  pod <- function(...) list(at = c("spec", "template", "spec"), fields = list(...))
  pod_security <- function(...) list(at = c("spec", "template", "spec", "securityContext"), fields = list(...))
  program <- function(...) list(at = "program", fields = list(...))
  program_security <- function(...) list(at = "program_security", fields = list(...))
  volume <- function(...) pod(volumes = list(list(name = "x", ...)))
  projected <- function(...) volume(projected = list(sources = list(list(...))))
  nfs <- function(server, path) volume(nfs = list(server = server, path = path))
  variable <- function(...) program(env = list(list(name = "X", valueFrom = list(...))))
  other_image <- list(name = "other", image = "registry.example.com/other:1")
  broken <- list(
    "runs once" = list(
      pod(restartPolicy = "OnFailure"),
      list(at = "spec", fields = list(backoffLimit = 1)), list(at = "spec", fields = list(parallelism = 2)),
      list(at = "spec", fields = list(completions = 2)), list(at = "spec", fields = list(completionMode = "Indexed")),
      list(at = "spec", fields = list(managedBy = "example.com/other")),
      # Kubernetes takes it with this alone.
      list(at = "spec", fields = list(podReplacementPolicy = "Failed", podFailurePolicy = list(rules = list(list(
        action = "Ignore", onExitCodes = list(operator = "In", values = list(1))
      )))))
    ),
    "abba/images" = list(
      program(image = "registry.example.com/other:1"), program(image = paste0(r_image, "x")),
      pod(initContainers = list(other_image))
    ),
    "account of a person" = list(
      pod_security(runAsUser = NULL), pod_security(runAsUser = 0), pod_security(runAsUser = 999),
      pod_security(runAsUser = 65534), pod_security(runAsNonRoot = FALSE), pod_security(runAsNonRoot = NULL),
      pod(securityContext = NULL), program_security(runAsUser = 0), program_security(runAsUser = 999),
      program_security(runAsNonRoot = FALSE)
    ),
    "groups of people" = list(
      pod_security(runAsGroup = NULL), pod_security(runAsGroup = 0), pod_security(supplementalGroups = list(5100, 4)),
      pod_security(fsGroup = 0), program_security(runAsGroup = 0)
    ),
    "No privilege" = list(
      program_security(allowPrivilegeEscalation = TRUE), program_security(allowPrivilegeEscalation = NULL),
      program(securityContext = NULL), program_security(capabilities = NULL),
      program_security(capabilities = list(drop = list("NET_RAW"))),
      program_security(capabilities = list(drop = list("ALL"), add = list("SYS_ADMIN"))),
      pod_security(seccompProfile = NULL), program_security(seccompProfile = list(type = "Unconfined")),
      pod_security(sysctls = list(list(name = "kernel.msgmax", value = "1")))
    ),
    "Nothing of the node's" = list(
      pod(hostNetwork = TRUE), pod(hostPID = TRUE, shareProcessNamespace = NULL), pod(hostIPC = TRUE),
      program(ports = list(list(containerPort = 1, hostPort = 1))), pod(nodeName = "127.0.0.1"),
      pod(priorityClassName = "system-node-critical")
    ),
    "No token" = list(
      pod(automountServiceAccountToken = TRUE), pod(automountServiceAccountToken = NULL),
      pod(serviceAccountName = "other", serviceAccount = "other")
    ),
    "A volume is" = list(
      volume(hostPath = list(path = "/")), volume(secret = list(secretName = "other")),
      volume(configMap = list(name = "kube-root-ca.crt")), volume(persistentVolumeClaim = list(claimName = "x"))
    ),
    # Of a kind that is permitted here.
    "a projected volume has none" = list(
      projected(serviceAccountToken = list(path = "token")), projected(secret = list(name = "other"))
    ),
    "NFS folder" = list(
      nfs("192.0.2.3", "/studies"), nfs("192.0.2.1", "/"), nfs("192.0.2.1", "/studies2"), nfs("192.0.2.1", "/data"),
      nfs("192.0.2.1", "/studies/../data"), nfs("192.0.2.2", "/dat")
    ),
    "from a Secret" = list(
      variable(secretKeyRef = list(name = "other", key = "k")),
      program(envFrom = list(list(secretRef = list(name = "other"))))
    )
  )
  change <- function(job, change) {
    set <- function(object) {
      for (field in names(change$fields)) object[field] <- list(change$fields[[field]])
      # A field without a value is one that is not there.
      object[!vapply(object, is.null, NA)]
    }
    container <- job$spec$template$spec$containers[[1L]]
    if (change$at[[1L]] == "program") {
      job$spec$template$spec$containers[[1L]] <- set(container)
    } else if (change$at[[1L]] == "program_security") {
      job$spec$template$spec$containers[[1L]]$securityContext <- set(container$securityContext)
    } else {
      job[[change$at]] <- set(job[[change$at]])
    }
    # Mounts of volumes that the change has taken away.
    if (!is.null(change$fields$volumes)) job$spec$template$spec$containers[[1L]]$volumeMounts <- NULL
    job
  }
  named <- function(job, name) {
    job$metadata$name <- name
    job
  }
  all <- unlist(broken, recursive = FALSE)
  jobs <- Map(function(one, number) named(change(good, one), paste0("probe-", number)), all, seq_along(all))
  words <- words_of(objects = unname(jobs))
  rules <- rep(names(broken), lengths(broken))
  for (i in seq_along(all)) {
    label <- paste(rules[[i]], jsonlite::toJSON(all[[i]], auto_unbox = TRUE, null = "null"))
    expect_match(words[[i]], paste0(programs_namespace, "-create"), fixed = TRUE, label = label)
    expect_match(words[[i]], rules[[i]], fixed = TRUE, label = label)
  }
  # This cluster has a rule of its own against it, which comes first.
  privileged <- program_security(privileged = TRUE, allowPrivilegeEscalation = NULL)
  expect_match(words_of(change(good, privileged)), "disallowed by cluster policy")
  permitted <- list(
    nfs("192.0.2.1", "/studies"), nfs("192.0.2.1", "/studies/s1/..x"), nfs("192.0.2.2", "/data/s1"),
    volume(secret = list(secretName = "database")), variable(secretKeyRef = list(name = "database", key = "k")),
    projected(configMap = list(name = "settings")), projected(secret = list(name = "database")),
    pod_security(supplementalGroupsPolicy = "Strict")
  )
  jobs <- Map(function(one, number) named(change(good, one), paste0("good-", number)), permitted, seq_along(permitted))
  expect_identical(words_of(objects = jobs), rep("", length(jobs)))
})

test_that("what was accepted stays as it was", {
  pods <- kubectl_json("get", "pods", "--namespace", programs_namespace)$items
  pod <- pods[[1L]]
  # As it is now, whatever has changed since.
  pod$metadata[c("managedFields", "resourceVersion")] <- NULL
  renamed <- pod
  renamed$metadata$annotations[["abba/owner"]] <- "games"
  pod$spec$containers[[1L]]$image <- "registry.example.com/other:1"
  for (field in c("command", "args")) {
    if (!is.null(pod$spec$containers[[1L]][[field]])) {
      pod$spec$containers[[1L]][[field]] <- as.list(pod$spec$containers[[1L]][[field]])
    }
  }
  expect_match(words_of(pod, verb = "replace"), "The containers of a pod stay as they were")
  stays <- "What is said of a program stays as it was"
  expect_match(words_of(renamed, verb = "replace"), stays)
  # One that was cancelled is over, and may begin to wait.
  is_cancelled <- function(job) identical(as.numeric(job$spec$activeDeadlineSeconds), 0)
  job <- Filter(Negate(is_cancelled), kubectl_json("get", "jobs", "--namespace", programs_namespace)$items)[[1L]]
  job$spec$template$spec$containers[[1L]]$command <- as.list(job$spec$template$spec$containers[[1L]]$command)
  job$metadata[c("managedFields", "resourceVersion")] <- NULL
  kubectl(
    "create", "rolebinding", "controller", "--namespace", programs_namespace, "--role", "abba",
    "--serviceaccount", paste0(server_namespace, ":abba-controller")
  )
  for (change in list(
    function(job) replace_in(job, "annotations", "abba/owner", "games"),
    function(job) replace_in(job, "annotations", "abba/owner", NULL),
    function(job) replace_in(job, "annotations", "other", "x"),
    function(job) replace_in(job, "labels", "abba/batch-id", "other")
  )) {
    expect_match(words_of(change(job), verb = "replace"), stays)
    # The account of the controller may not either.
    expect_match(words_of(change(job), verb = "replace", account = paste0(servers_account, "-controller")), stays)
  }
  twice <- job
  twice$spec$parallelism <- 2
  expect_match(words_of(twice, verb = "replace"), "a program runs once")
  removed <- job
  removed$spec$ttlSecondsAfterFinished <- 0
  for (account in paste0(servers_account, c("", "-controller"))) {
    expect_match(words_of(removed, verb = "replace", account = account), "How long a Job is kept")
  }
  # Nor does it begin to wait, so as to be let go past its queue.
  job$metadata$labels[["abba/waiting"]] <- "true"
  expect_match(words_of(job, verb = "replace"), "none begins to wait")
})

test_that("the server lets a program go that waits for others, and into its queue where it has one", {
  queue <- "kueue.x-k8s.io/queue-name"
  waiting <- function(queue = NULL) {
    job <- job_of_server()
    job$metadata$labels[["abba/waiting"]] <- "true"
    job$metadata$annotations[["abba/queue"]] <- queue
    job$spec$suspend <- TRUE
    file <- withr::local_tempfile(fileext = ".json")
    writeLines(as.character(jsonlite::toJSON(job, auto_unbox = TRUE, null = "null", digits = NA)), file)
    kubectl("create", "--namespace", programs_namespace, "--filename", file)
    withr::defer_parent(kubectl("delete", "job", job$metadata$name, "--namespace", programs_namespace, "--wait=false"))
    job <- kubectl_json("get", "job", job$metadata$name, "--namespace", programs_namespace)
    job$spec$template$spec$containers[[1L]]$command <- as.list(job$spec$template$spec$containers[[1L]]$command)
    job$metadata[c("managedFields", "resourceVersion")] <- NULL
    job$metadata$labels[["abba/waiting"]] <- NULL
    job
  }
  goes <- function(job) {
    job$spec$suspend <- FALSE
    job
  }
  expect_identical(words_of(goes(waiting()), verb = "replace"), "")
  queued <- waiting("team-a")
  expect_match(words_of(goes(queued), verb = "replace"), "leaves its queue by its queue alone")
  queued$metadata$annotations[["abba/queue"]] <- NULL
  expect_match(words_of(queued, verb = "replace"), "goes to its queue afterwards")
  queued$metadata$labels[[queue]] <- "team-a"
  expect_identical(words_of(queued, verb = "replace"), "")
  # Where it is, it stays.
  kubectl("label", "job", queued$metadata$name, "--namespace", programs_namespace, paste0(queue, "=team-a"))
  queued$metadata$labels[[queue]] <- "team-b"
  expect_match(words_of(queued, verb = "replace"), "What is said of a program stays as it was")
})

test_that("the lists are data, and a changed one counts at once", {
  good <- job_of_server()
  good$spec$template$spec$containers[[1L]]$image <- cluster_image("no-r:1")
  expect_match(words_of(good), "abba/images")
  both <- paste0(r_image, "\\n", cluster_image("no-r:1"))
  overlay$patches[[1L]]$patch <- sub(r_image, both, overlay$patches[[1L]]$patch, fixed = TRUE)
  write_site("kustomization.yaml", jsonlite::toJSON(overlay, auto_unbox = TRUE))
  kubectl("apply", "--kustomize", site)
  wait_until(function() identical(words_of(good), ""), what = "the changed list")
})

test_that("Pod Security, the network and the bounds are as the manifests say", {
  # Whoever it is: these hold for administrators, too.
  expect_match(
    tryCatch(
      kubectl(
        "run", "probe", "--image", r_image, "--namespace", programs_namespace, "--dry-run=server", "--overrides",
        "{\"spec\": {\"hostNetwork\": true}}"
      ),
      error = conditionMessage
    ),
    "violates PodSecurity \"baseline"
  )
  level <- function(file) {
    objects <- kubectl("kustomize", file.path(folder, file))
    sub(".*enforce: ", "", grep("pod-security.kubernetes.io/enforce", lines_of(objects), value = TRUE))
  }
  expect_setequal(level("base"), "restricted")
  expect_setequal(level("nfs"), c("baseline", "restricted"))
  expect_setequal(level("example"), c("baseline", "restricted"))
  network <- kubectl_json("get", "networkpolicy", "programs", "--namespace", programs_namespace)$spec
  expect_identical(unlist(network$policyTypes), c("Ingress", "Egress"))
  # Every pod, and nothing is permitted.
  expect_length(unlist(network[c("podSelector", "ingress", "egress")]), 0L)
  server <- kubectl_json("get", "networkpolicy", "server", "--namespace", server_namespace)$spec
  expect_identical(unlist(server$egress[[1L]]$to[[1L]]$ipBlock$except), "169.254.0.0/16")
  large <- c("run", "probe", "--image", r_image, "--namespace", programs_namespace, "--dry-run=server", "--overrides")
  limits <- jsonlite::toJSON(list(spec = list(containers = list(list(
    name = "probe", image = "x", resources = list(limits = list(cpu = 3, memory = "1M"))
  )))), auto_unbox = TRUE)
  expect_match(tryCatch(kubectl(large, limits), error = conditionMessage), "maximum cpu usage per Container is 2")
  # The policies' expressions fit the kinds of objects.
  for (policy in paste0(programs_namespace, c("-create", "-update"))) {
    checked <- function() kubectl_json("get", "validatingadmissionpolicy", policy)$status
    wait_until(function() !is.null(checked()$observedGeneration), what = "the check of the policy")
    expect_null(checked()$typeChecking$expressionWarnings)
  }
})

# What the cluster says to an object that an administrator would make, which is not kept: `made`, or the words of its
# refusal.
tried <- function(object, namespace = programs_namespace) {
  file <- withr::local_tempfile(fileext = ".json")
  writeLines(as.character(jsonlite::toJSON(object, auto_unbox = TRUE, null = "null", digits = NA)), file)
  result <- processx::run(real_kubectl, c(
    "--kubeconfig", cluster_kubeconfig(), "create", "--namespace", namespace, "--dry-run=server", "--output", "json",
    "--filename", file
  ), error_on_status = FALSE)
  if (result$status == 0L) list(made = jsonlite::fromJSON(result$stdout, simplifyVector = FALSE)) else result$stderr
}

# A pod of `count` containers with these limits.
pod_with <- function(..., count = 1L) {
  container <- function(k) {
    list(name = paste0("c", k), image = r_image, resources = list(limits = list(...)))
  }
  list(
    apiVersion = "v1", kind = "Pod", metadata = list(name = "probe"),
    spec = list(restartPolicy = "Never", containers = lapply(seq_len(count), container))
  )
}

test_that("the ResourceQuota refuses what is more than all programs may have, and what is nothing for programs", {
  # The quota acts once its controller has counted what is there.
  status <- function() kubectl_json("get", "resourcequota", "programs", "--namespace", programs_namespace)$status
  wait_until(function() !is.null(status()$used), what = "the quota")
  expect_type(tried(pod_with(cpu = "1", memory = "100M")), "list")
  # No container alone is too large.
  expect_match(tried(pod_with(cpu = "2", memory = "1M", count = 33L)), "exceeded quota: programs.*limits.cpu=66")
  # Disk by the LimitRange's default.
  expect_match(
    tried(pod_with(cpu = "1m", memory = "1M", count = 51L)), "exceeded quota: programs.*limits.ephemeral-storage=510Gi"
  )
  one <- pod_with(cpu = "1m", memory = "1M")$spec
  others <- list(
    services = list(apiVersion = "v1", kind = "Service", spec = list(ports = list(list(port = 80)))),
    persistentvolumeclaims = list(apiVersion = "v1", kind = "PersistentVolumeClaim", spec = list(
      accessModes = list("ReadWriteOnce"), resources = list(requests = list(storage = "1Gi"))
    )),
    `count/deployments.apps` = list(apiVersion = "apps/v1", kind = "Deployment", spec = list(
      selector = list(matchLabels = list(a = "b")),
      template = list(metadata = list(labels = list(a = "b")), spec = one["containers"])
    )),
    `count/cronjobs.batch` = list(apiVersion = "batch/v1", kind = "CronJob", spec = list(
      schedule = "@daily", jobTemplate = list(spec = list(template = list(spec = one)))
    ))
  )
  for (name in names(others)) {
    words <- tried(c(others[[name]], list(metadata = list(name = "probe"))))
    expect_match(words, paste0("exceeded quota: programs.*limited: ", name, "=0"), label = name)
  }
})

test_that("the LimitRange refuses what is more than one program may have, and gives a bound on disk", {
  expect_match(tried(pod_with(cpu = "3", memory = "1M")), "maximum cpu usage per Container is 2")
  expect_match(tried(pod_with(cpu = "1", memory = "2G")), "maximum memory usage per Container is 1G")
  large <- pod_with(cpu = "1", memory = "1G", `ephemeral-storage` = "11Gi")
  expect_match(tried(large), "maximum ephemeral-storage usage per Container is 10Gi")
  resources_of <- function(...) tried(pod_with(...))$made$spec$containers[[1L]]$resources
  resources <- resources_of(cpu = "1", memory = "1G")
  expect_identical(resources$limits$`ephemeral-storage`, "10Gi")
  expect_identical(resources$requests$`ephemeral-storage`, "100Mi")
  # Whoever says nothing of cores gets the largest, and is counted with it.
  expect_identical(resources_of(memory = "1M")$limits$cpu, "2")
})

test_that("the level of the base refuses NFS, and takes the server's own pod", {
  restricted <- paste0(name, "-restricted")
  objects <- kubectl("create", "--kustomize", file.path(folder, "base"), "--dry-run=client", "--output=json")
  objects <- strsplit(paste(objects, collapse = "\n"), "(?<=\n\\})\n(?=\\{)", perl = TRUE)[[1L]]
  objects <- lapply(objects, jsonlite::fromJSON, simplifyVector = FALSE)
  of_kind <- function(kind) Filter(function(object) object$kind == kind, objects)
  levels <- lapply(of_kind("Namespace"), function(object) object$metadata$labels)
  kubectl("create", "namespace", restricted)
  withr::defer(kubectl("delete", "namespace", restricted, "--wait=false"))
  enforce <- "pod-security.kubernetes.io/enforce"
  expect_identical(unique(vapply(levels, `[[`, "", enforce)), "restricted")
  kubectl("label", "namespace", restricted, paste0(enforce, "=restricted"))
  spec <- of_kind("Deployment")[[1L]]$spec$template$spec
  spec$serviceAccountName <- NULL
  as_lists <- c("command", "args")
  spec$containers <- lapply(spec$containers, function(container) {
    for (field in intersect(as_lists, names(container))) container[[field]] <- as.list(container[[field]])
    container
  })
  pod <- list(apiVersion = "v1", kind = "Pod", metadata = list(name = "probe"), spec = spec)
  # The account of the namespace is made a moment after it.
  is_taken <- function() {
    said <- tried(pod, restricted)
    if (is.list(said)) TRUE else said
  }
  wait_until(is_taken, what = "the server's pod to be taken")
  nfs <- list(name = "data", nfs = list(server = "192.0.2.1", path = "/studies"))
  pod$spec$volumes <- c(pod$spec$volumes, list(nfs))
  expect_match(tried(pod, restricted), "violates PodSecurity \"restricted:latest\": restricted volume types")
})

test_that("the Containerfile is of files that are there, and is as the tests build the image", {
  read <- function(...) paste(readLines(file.path(repository, ...)), collapse = "\n")
  text <- gsub("\\\\\n *", "", read("inst/deploy/image/Containerfile"))
  lines <- grep("^(#|$)", lines_of(text), value = TRUE, invert = TRUE)
  words <- strsplit(lines, " +")
  expect_setequal(vapply(words, `[[`, "", 1L), c("ARG", "FROM", "COPY", "RUN", "ENV", "USER", "CMD"))
  of <- function(instruction) Filter(function(line) line[[1L]] == instruction, words)
  from <- of("FROM")
  stages <- vapply(from, function(line) if (length(line) == 4L) line[[4L]] else "", "")
  for (copy in of("COPY")) {
    stage <- sub("^--from=", "", grep("^--from=", copy, value = TRUE))
    if (length(stage) == 1L) {
      expect_true(stage %in% stages, label = stage)
    } else {
      sources <- copy[-c(1L, length(copy))]
      expect_true(all(file.exists(file.path(repository, sources))), label = toString(sources))
    }
  }
  # What it copies from a stage is there by that stage's lines.
  expect_match(text, "R CMD INSTALL --library=/library --no-test-load /abba", fixed = TRUE)
  tests <- gsub("\\\\\n *", "", read("tests/cluster/lib/server-image.sh"))
  # The release of Debian, of both stages, and kubectl.
  releases <- grep("bookworm", vapply(from, `[[`, "", 2L), value = TRUE)
  expect_identical(releases, c("docker.io/library/rust:1-bookworm", "docker.io/library/debian:bookworm-slim"))
  expect_match(tests, "\" bookworm \"$1\"", fixed = TRUE)
  version <- kubectl_json("version", "--client")$clientVersion$gitVersion
  expect_identical(of("ARG")[[1L]][[2L]], paste0("KUBECTL=", version))
  # Account, environment and command.
  user <- of("USER")[[1L]][[2L]]
  expect_match(tests, paste0("--config.user ", user, " "), fixed = TRUE)
  expect_match(read("inst/deploy/image/set-up"), paste0("--uid ", sub(":.*", "", user), " "), fixed = TRUE)
  for (variable in of("ENV")[[1L]][-1L]) expect_match(tests, paste0("--config.env ", variable, " "), fixed = TRUE)
  command <- jsonlite::fromJSON(sub("^CMD ", "", grep("^CMD ", lines, value = TRUE)))
  expect_match(tests, paste(paste0("--config.cmd ", command), collapse = " "), fixed = TRUE)
})

test_that("the policies hold for the server's account in its namespace, and for nobody else", {
  job <- job_of_server()
  job$spec$template$spec$containers[[1L]]$image <- "registry.example.com/other:1"
  file <- withr::local_tempfile(fileext = ".json")
  writeLines(as.character(jsonlite::toJSON(job, auto_unbox = TRUE, null = "null", digits = NA)), file)
  as_admin <- kubectl("create", "--namespace", programs_namespace, "--dry-run=server", "--filename", file)
  expect_match(as_admin, "created")
})
