//! Questions about the cluster, the user, and what would be accepted.

use serde::de::DeserializeOwned;
use serde_json::{json, Map, Value};

use super::{parse, Api, Created};
use crate::kubernetes::cluster_objects::{
    LimitRange, Namespace, NetworkPolicy, Node, ResourceQuota, ResourceRule, SelfSubjectAccessReview,
    SelfSubjectReview, SelfSubjectRulesReview, VersionInfo,
};
use crate::kubernetes::objects::List;
use crate::transport::{Call, Failure};

impl Api<'_> {
    /// The server's version. It tells everybody.
    pub fn server_version(&self) -> Result<VersionInfo, Failure> {
        self.read(&Call::get("/version"))
    }

    /// Who the user is to the cluster.
    pub fn who_am_i(&self) -> Result<SelfSubjectReview, Failure> {
        self.review("authentication.k8s.io", "SelfSubjectReview", &json!({}))
    }

    /// What the user may do in the namespace. The list may lack what another authorizer than RBAC allows.
    pub fn rules(&self) -> Result<Vec<ResourceRule>, Failure> {
        let spec = json!({"namespace": self.namespace});
        let review: SelfSubjectRulesReview = self.review("authorization.k8s.io", "SelfSubjectRulesReview", &spec)?;
        Ok(review.status.resource_rules.unwrap_or_default())
    }

    /// Whether the user may do one thing in the namespace. `resource` may have a subresource, as `pods/log`.
    pub fn is_allowed(&self, api_group: &str, resource: &str, verb: &str) -> Result<bool, Failure> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let spec = json!({"resourceAttributes": {
            "namespace": self.namespace,
            "group": api_group,
            "resource": resource,
            "subresource": subresource,
            "verb": verb,
        }});
        let review: SelfSubjectAccessReview = self.review("authorization.k8s.io", "SelfSubjectAccessReview", &spec)?;
        Ok(review.status.allowed)
    }

    /// Asks for a review, which the server answers and does not keep.
    fn review<T: DeserializeOwned>(&self, api_group: &str, kind: &str, spec: &Value) -> Result<T, Failure> {
        let api_version = format!("{api_group}/v1");
        let path = format!("/apis/{api_version}/{}s", kind.to_lowercase());
        let body = json!({"apiVersion": api_version, "kind": kind, "spec": spec});
        self.read(&Call::create(path, &body))
    }

    /// The namespace itself.
    pub fn namespace_object(&self) -> Result<Namespace, Failure> {
        self.read(&Call::get(format!("/api/v1/namespaces/{}", self.namespace)))
    }

    /// The quotas of the namespace.
    pub fn list_quotas(&self) -> Result<Vec<ResourceQuota>, Failure> {
        self.list_all("/api/v1", "resourcequotas")
    }

    /// The bounds on single pods in the namespace.
    pub fn list_limit_ranges(&self) -> Result<Vec<LimitRange>, Failure> {
        self.list_all("/api/v1", "limitranges")
    }

    /// The rules of who reaches whom in the namespace.
    pub fn list_network_policies(&self) -> Result<Vec<NetworkPolicy>, Failure> {
        self.list_all("/apis/networking.k8s.io/v1", "networkpolicies")
    }

    fn list_all<T: DeserializeOwned>(&self, version: &str, resource: &str) -> Result<Vec<T>, Failure> {
        let path = format!("{version}/namespaces/{}/{resource}", self.namespace);
        Ok(self.read::<List<T>>(&Call::get(path))?.items)
    }

    /// The nodes of the cluster.
    pub fn list_nodes(&self) -> Result<Vec<Node>, Failure> {
        Ok(self.read::<List<Node>>(&Call::get("/api/v1/nodes"))?.items)
    }

    /// Has the server check a Job as it would check one that is created, and keeps nothing.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>
    pub fn dry_run_job(&self, job: &Value) -> Result<Created, Failure> {
        let (job, warnings) = self.try_object(&self.jobs(), job)?;
        Ok(Created { warnings, job })
    }

    /// The same for the pod of a Job, which more rules apply to: the user needs the right to create pods. Gives back
    /// the Job with that pod.
    pub fn dry_run_pod(&self, job: &Value) -> Result<Created, Failure> {
        let mut pod = job["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = job["metadata"]["name"].clone();
        let (pod, warnings) = self.try_object(&self.pods(), &pod)?;
        let mut job = job.clone();
        job["spec"]["template"] = pod;
        Ok(Created { warnings, job })
    }

    fn try_object(&self, path: &str, object: &Value) -> Result<(Value, Vec<String>), Failure> {
        let path = format!("{path}?dryRun=All&fieldValidation=Strict");
        let call = Call::create(path, object);
        let (answer, warnings) = self.read_with(|deadline| self.transport.send_with_warnings(&call, deadline))?;
        let answer = parse::<Map<String, Value>>(&call, &answer)?;
        Ok((Value::Object(answer), warnings))
    }
}
