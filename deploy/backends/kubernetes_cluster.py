"""The cluster itself: requests to its API as plain data, and commands in its pods. The only user of the client."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from deploy.backends.kubernetes_manifests import Manifest
from deploy.errors import SubmitError
from deploy.sites import KubernetesSite
from nntrainer.errors import MissingDependencyError

CONNECT_S, ANSWER_S = 10.0, 60.0
GROUPS = {
    "Job": ("batch", "v1", "jobs"),
    "Pod": ("", "v1", "pods"),
    "ConfigMap": ("", "v1", "configmaps"),
    "Event": ("", "v1", "events"),
    "ResourceQuota": ("", "v1", "resourcequotas"),
    "PersistentVolumeClaim": ("", "v1", "persistentvolumeclaims"),
    "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets"),
    "MPIJob": ("kubeflow.org", "v2beta1", "mpijobs"),
}
STDOUT, STDERR, STATUS = 1, 2, 3
CLOSED = 8
"""The last frame of a WebSocket."""


class Refused(SubmitError):
    """The API refused a request.

    Args:
        code: its HTTP code; 0 where there was no answer.
        text: the sentence.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Cluster:
    """A namespace of a cluster, with the rights of whoever runs deploy.

    Args:
        site: the site.

    Raises:
        MissingDependencyError: the client is not installed.
        SubmitError: there is no usable kubeconfig.
    """

    def __init__(self, site: KubernetesSite) -> None:
        self.site, self.namespace = site, site.namespace
        try:
            import kubernetes
        except ImportError:
            raise MissingDependencyError(
                "the Kubernetes client is not installed; `pip install 'nntrainer[kubernetes]'` brings it"
            ) from None
        self._kubernetes = kubernetes
        self._api = _connected(kubernetes, site)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.rest_client.pool_manager.clear()  # its close() leaves connections open
        self._api.close()

    def get(self, path: str, **query: str) -> Any:
        """Return what the API has at a path.

        Args:
            path: such as ``/version``.
            **query: the query.

        Returns:
            Plain data.

        Raises:
            Refused: the API refuses, or does not answer.
        """
        return self._call("GET", path, query=list(query.items()))

    def list(self, kind: str, selector: str = "", fields: str = "") -> list[Manifest]:
        """Return the objects of a kind in the namespace, by their labels and fields."""
        query = {"labelSelector": selector, "fieldSelector": fields}
        found: list[Manifest] = self.get(self._path(kind), **{k: v for k, v in query.items() if v})["items"]
        return found

    def read(self, kind: str, name: str) -> Manifest | None:
        """Return an object, None where there is none."""
        try:
            found: Manifest = self.get(f"{self._path(kind)}/{name}")
        except Refused as error:
            if error.code == 404:
                return None
            raise
        return found

    def create(self, manifest: Manifest) -> Manifest:
        """Make an object.

        Args:
            manifest: what it is to be.

        Returns:
            The object.

        Raises:
            Refused: the API refuses; code 409 where there is one of this name.
        """
        made: Manifest = self._call("POST", self._path(manifest["kind"]), body=manifest)
        return made

    def patch(self, kind: str, name: str, change: Manifest) -> None:
        """Change an object."""
        self._call("PATCH", f"{self._path(kind)}/{name}", body=change, content="application/merge-patch+json")

    def delete(self, kind: str, name: str, *, grace_s: int | None = None, propagation: str = "Foreground") -> None:
        """Delete an object and, before it, all that it made; one that is gone is no error."""
        options: dict[str, Any] = {"propagationPolicy": propagation}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            self._call("DELETE", f"{self._path(kind)}/{name}", body=options)
        except Refused as error:
            if error.code != 404:
                raise

    def log(self, pod: str, since: str | None = None) -> Iterator[bytes]:
        """Yield the lines of a pod's log, each behind its time, from about a time on; none where it has no log yet."""
        query = [("container", "main"), ("timestamps", "true")] + ([("sinceTime", since)] if since else [])
        try:
            response = self._request("GET", f"{self._path('Pod')}/{pod}/log", query)
        except Refused as error:
            if error.code in (400, 404):  # not started yet, or gone
                return
            raise
        try:
            rest = b""
            for block in response.stream(1 << 16):
                *lines, rest = (rest + block).split(b"\n")
                yield from (line + b"\n" for line in lines)
            if rest:
                yield rest
        finally:
            response.release_conn()

    @contextmanager
    def exec(self, pod: str, command: Sequence[str], stdin: bytes = b"") -> Iterator[Iterator[bytes]]:
        """Run a command in a pod.

        Args:
            pod: the pod.
            command: the command.
            stdin: its input; nothing ends it, so that the command has to know where it does.

        Yields:
            What it writes, in pieces; after the last an error is raised if the command failed.
        """
        from kubernetes.stream import stream

        core = self._kubernetes.client.CoreV1Api(self._api)
        try:
            connection = stream(
                core.connect_get_namespaced_pod_exec,
                *(pod, self.namespace),
                container="main",
                command=list(command),
                stdin=bool(stdin),
                stdout=True,
                stderr=True,
                tty=False,
                binary=True,
                _preload_content=False,
                _request_timeout=ANSWER_S,
            )
        except self._kubernetes.client.ApiException as error:
            raise Refused(error.status or 0, f"pod {pod}: no command can be run in it: {error.reason}") from None
        from websocket import WebSocketException

        try:
            if stdin:
                connection.write_stdin(stdin)
            yield _output(connection, pod)
        except (WebSocketException, OSError) as error:
            if isinstance(error, OSError) and error.filename:  # a file here, not the connection
                raise
            raise Refused(0, f"pod {pod}: the connection to it was cut off: {error}") from None
        finally:
            connection.sock.shutdown()  # its close() does nothing after the other side has closed

    def _path(self, kind: str) -> str:
        group, version, plural = GROUPS[kind]
        root = f"/apis/{group}" if group else "/api"
        return f"{root}/{version}/namespaces/{self.namespace}/{plural}"

    def may(self, verb: str, resource: str, group: str = "") -> bool:
        """Return whether whoever runs deploy may do something in the namespace, such as create jobs."""
        resource, _, sub = resource.partition("/")
        attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": resource}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes | ({"subresource": sub} if sub else {})},
        }
        answer = self._call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
        return bool(answer["status"]["allowed"])

    def token(self) -> str:
        """Return the bearer token that the kubeconfig gives; empty where it gives another credential."""
        setting = self._api.configuration.auth_settings().get(
            "BearerToken", {}
        )  # renewed first where a program gives it
        return str(setting.get("value") or "").removeprefix("Bearer ")

    def _call(self, method: str, path: str, **options: Any) -> Any:
        response = self._request(method, path, **options)
        try:
            return json.loads(response.read())
        finally:
            response.release_conn()

    def _request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        content: str = "application/json",
    ) -> Any:
        """Return the answer of the API, not read yet."""
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json, */*", "Content-Type": content}
        if token := self.token():
            headers["Authorization"] = f"Bearer {token}"
        host = self._api.configuration.host.rstrip("/")
        try:
            response = self._api.rest_client.pool_manager.request(
                method,
                f"{host}{path}" + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=Timeout(connect=CONNECT_S, read=ANSWER_S),
                preload_content=False,
            )
            text = response.read() if response.status >= 400 else b""
        except HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise Refused(0, f"site '{self.site.name}': the cluster at {host} does not answer: {reason}") from None
        if response.status >= 400:
            response.release_conn()
            raise Refused(response.status, _sentence(self.site, response.status, text, response.reason))
        return response


def _connected(kubernetes: Any, site: KubernetesSite) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return kubernetes.config.new_client_from_config(context=site.context)
        except kubernetes.config.ConfigException as error:
            raise SubmitError(
                f"site '{site.name}': there is no usable kubeconfig: {error}; put it into ~/.kube/config or name it in "
                "KUBECONFIG"
            ) from None


def _sentence(site: KubernetesSite, code: int, body: bytes, reason: str) -> str:
    """Return what the API says about a request that it refused."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = reason
    hint = {
        401: "; the credential of the kubeconfig is not valid, or not any more",
        403: "; ask whoever runs the cluster for a role with this right",
    }.get(code, "")
    return f"site '{site.name}', namespace '{site.namespace}': {message}{hint}"


def _output(connection: Any, pod: str) -> Iterator[bytes]:
    """Yield the output of a command frame by frame.

    The client's own update() copies all there is again with each frame, and stands still above 100 MB.
    """
    errors, status = bytearray(), bytearray()
    while (frame := connection.sock.recv_data_frame(True))[0] != CLOSED:
        data = frame[1].data
        if data and data[0] == STDOUT:
            yield data[1:]
        elif data and data[0] == STDERR:
            errors += data[1:]
        elif data and data[0] == STATUS:
            status += data[1:]
    if not status or json.loads(status)["status"] != "Success":
        said = errors.decode("utf-8", "replace").strip() or bytes(status).decode("utf-8", "replace")
        raise Refused(0, f"pod {pod}: the command failed or was cut off: {said[-500:] or 'the connection ended'}")
