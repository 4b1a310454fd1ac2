options(
  abba.api.operators = "mike",
  # The largest limits of one program. The LimitRange in ../base/bounds.yaml permits as much.
  abba.cpu.limit = 2,
  abba.memory.limit = "1G"
)

# Has the groups of a program be its account's alone: without it, the node adds those that the image's own /etc/group
# gives to the user of that number, and on NFS they are the site's. Every node must know it, else it refuses the program:
#   kubectl get nodes --output custom-columns=NODE:.metadata.name,STRICT:.status.features.supplementalGroupsPolicy
#
# options(abba.permitted.templates = list(default = list(spec = list(template = list(spec = list(
#   securityContext = list(supplementalGroupsPolicy = "Strict")
# ))))))
