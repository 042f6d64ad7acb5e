#!/usr/bin/env python3
"""Writes tests/data/sigv4/*.json: requests signed by botocore's own signer at one fixed time.

    pip install boto3 && tools/sigv4_fixtures.py

`good.json` holds requests as an AWS SDK makes them, one for each operation of Kinesis Data Streams and a few more forms; each is
accepted. `bad.json` holds requests whose signature is right for what it signs, but which are refused all the same; `refused` is
the error they are refused with. Everything in them is an example: no key here opens anything.
"""

import datetime
import json
import os
from pathlib import Path

import botocore.auth
import botocore.compat
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session

NOW = datetime.datetime(2026, 11, 20, 12, 0, 0, tzinfo=datetime.timezone.utc)
ACCESS_KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "localhost:4566"
URL = f"http://{HOST}/"
BODY = '{"StreamName":"clicks"}'
JSON = "application/x-amz-json-1.1"


def at(time):
    """Signs at this time."""
    botocore.auth.get_current_datetime = lambda: time.replace(tzinfo=None)


def plain_headers(target="Kinesis_20131202.DescribeStreamSummary", content_type=JSON, **more):
    headers = {"Host": HOST, "X-Amz-Target": target, "Content-Type": content_type}
    return {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}


def row(name, request, refused=None):
    prepared = request.prepare()
    split = botocore.compat.urlsplit(prepared.url)
    uri = (split.path or "/") + (f"?{split.query}" if split.query else "")
    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
    headers = [[name, text(value)] for name, value in prepared.headers.items()]
    if not any(name.lower() == "host" for name, _ in headers):
        headers.append(["Host", split.netloc])
    body = text(prepared.body or b"")
    out = {"name": name, "method": prepared.method, "uri": uri, "headers": headers, "body": body}
    return out if refused is None else {**out, "refused": refused}


def sign(name, *, refused=None, signer=botocore.auth.SigV4Auth, service="kinesis", region="us-east-1", method="POST", url=URL,
         body=BODY, headers=None, time=NOW, key=ACCESS_KEY, secret=SECRET, token=None, after=None, **options):
    at(time)
    request = AWSRequest(method=method, url=url, data=body.encode(), headers=plain_headers() if headers is None else headers)
    signer(Credentials(key, secret, token), service, region, **options).add_auth(request)
    if after:
        after(request)
    return row(name, request, refused)


def without(*names):
    """A signer that leaves these headers out."""
    class Signer(botocore.auth.SigV4Auth):
        def headers_to_sign(self, request):
            headers = super().headers_to_sign(request)
            for name in names:
                del headers[name]
            return headers
    return Signer


class Presign(botocore.auth.SigV4QueryAuth):
    """Keeps the body in the request, where a JSON protocol has it."""
    def _modify_request_before_signing(self, request):
        data, request.data = request.data, b""
        super()._modify_request_before_signing(request)
        request.data = data


def captured():
    """What boto3's client itself would send."""
    at(NOW)
    session = Session()
    session.set_credentials(ACCESS_KEY, SECRET)
    client = session.create_client("kinesis", region_name="us-east-1", endpoint_url=f"http://{HOST}")
    rows = []

    class Stop(Exception):
        pass

    def capture(request, **kwargs):
        rows.append(request)
        raise Stop()

    client.meta.events.register("before-send.kinesis.*", capture)
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks"
    for name, call in {
        "boto3 put_record": lambda: client.put_record(StreamName="clicks", PartitionKey="user1", Data=b"user signup"),
        "boto3 put_records": lambda: client.put_records(
            StreamARN=arn, Records=[{"Data": bytes(range(256)), "PartitionKey": "größer"}] * 2),
        "boto3 list_streams": lambda: client.list_streams(),
        "boto3 subscribe_to_shard": lambda: client.subscribe_to_shard(
            ConsumerARN=f"{arn}/consumer/c:1", ShardId="shardId-000000000000", StartingPosition={"Type": "LATEST"}),
    }.items():
        try:
            call()
        except Stop:
            prepared = rows.pop()
            # Neither is signed, and both are others in each run.
            headers = {**prepared.headers, "User-Agent": "Boto3", "amz-sdk-invocation-id": "00000000-0000-4000-8000-000000000000"}
            request = AWSRequest(method=prepared.method, url=prepared.url, data=prepared.body, headers=headers)
            yield row(name, request)


def good():
    model = Session().get_service_model("kinesis")
    for operation in model.operation_names:
        yield sign(operation, headers=plain_headers(f"Kinesis_20131202.{operation}"))
    yield from captured()
    yield sign("CBOR", headers=plain_headers(content_type="application/x-amz-cbor-1.1"))
    yield sign("hash declared", headers=plain_headers(
        X_Amz_Content_Sha256=botocore.auth.sha256(BODY.encode()).hexdigest()))
    yield sign("no body", body="")
    yield sign("date in Date", headers=plain_headers(Date="replaced by the signer"))
    yield sign("spaces in a header", headers=plain_headers(X_Amz_Note="  a   b  c "))
    yield sign("empty header", headers=plain_headers(X_Amz_Note=""))
    yield sign("a path and a query", method="GET", url=f"http://{HOST}/a%20b/c:d/?b=2&a=x%2Fy&A=%C3%BC&empty=")
    yield sign("old by 15 minutes", time=NOW - datetime.timedelta(minutes=15))
    yield sign("ahead by 15 minutes", time=NOW + datetime.timedelta(minutes=15))
    yield sign("twelve digits", key="123456789012", secret="test")
    yield sign("presigned", signer=Presign, expires=60)
    yield sign("presigned, seven days ago", signer=Presign, expires=604_800, time=NOW - datetime.timedelta(days=7))
    yield sign("presigned GET", signer=Presign, method="GET", url=f"http://{HOST}/?Action=x&b=%2B+", body="",
               headers={"Host": HOST})


def bad():
    invalid, incomplete = "InvalidSignatureException", "IncompleteSignatureException"
    unknown = "UnrecognizedClientException"
    for mode in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                 "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
                 "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-EVENTS", "", "0" * 64]:
        headers = plain_headers(X_Amz_Content_Sha256=mode)
        yield sign(f"payload {mode}", headers=headers, refused=invalid)
        yield sign(f"presigned, payload {mode}", signer=Presign, headers=headers, refused=invalid)
        query = botocore.compat.quote(mode, safe="")
        yield sign(f"presigned, payload {mode} in the query", signer=Presign, url=f"{URL}?X-Amz-Content-Sha256={query}",
                   refused=invalid)
    for name in ["host", "content-type", "x-amz-target", "x-amz-date"]:
        yield sign(f"{name} not signed", signer=without(name), refused=invalid)
    yield sign("date not signed", signer=without("date"), headers=plain_headers(Date="x"), refused=invalid)
    yield sign("x-amz-note not signed", signer=without("x-amz-note"), headers=plain_headers(X_Amz_Note="x"), refused=invalid)
    for name, seconds in [("old", -901), ("ahead", 901), ("of last year", -365 * 86_400), ("of next year", 365 * 86_400)]:
        time = NOW + datetime.timedelta(seconds=seconds)
        yield sign(f"time {name}", time=time, refused=invalid)
        yield sign(f"time {name}, in Date", time=time, headers=plain_headers(Date="x"), refused=invalid)
    yield sign("presigned, over", signer=Presign, expires=60, time=NOW - datetime.timedelta(seconds=61), refused=invalid)
    yield sign("presigned, ahead", signer=Presign, expires=60, time=NOW + datetime.timedelta(seconds=901), refused=invalid)
    for seconds in [0, -1, 604_801, "1e3", "+60", "", 2**64]:
        yield sign(f"presigned for {seconds!r} seconds", signer=Presign, expires=seconds, refused=invalid)
    for form in [botocore.auth.SigV4Auth, Presign]:
        how = "presigned" if form is Presign else "signed"
        yield sign(f"{how} for another region", signer=form, region="eu-west-1", refused=invalid)
        yield sign(f"{how} for another service", signer=form, service="sqs", refused=invalid)
        yield sign(f"{how} for a region that is no word", signer=form, region="us east", refused=incomplete)
        yield sign(f"{how} with a token", signer=form, token="a session's token", refused=unknown)
        yield sign(f"{how} by a stranger", signer=form, key="AKIDSTRANGER", refused=unknown)
        yield sign(f"{how} with another's secret", signer=form, secret="test", refused=invalid)
        yield sign(f"{how} with another's key", signer=form, key="123456789012", refused=invalid)
        for path in ["//", "/./", "/a/../", "/a//b", "/.."]:
            yield sign(f"{how}, path {path}", signer=form, url=f"http://{HOST}{path}", refused=invalid)
    yield sign("a parameter twice", url=f"{URL}?a=1&a=2", refused=invalid)
    yield sign("both places", signer=Presign, refused=invalid,
               after=lambda request: botocore.auth.SigV4Auth(
                   Credentials(ACCESS_KEY, SECRET), "kinesis", "us-east-1").add_auth(request))
    yield sign("a parameter that looks like a signature's", url=f"{URL}?x-amz-credential=x", refused=invalid)
    request = AWSRequest(method="POST", url=URL, data=BODY.encode(), headers=plain_headers())
    yield row("not signed", request, "MissingAuthenticationTokenException")
    query = "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&SignatureVersion=2&SignatureMethod=HmacSHA256&Signature=x"
    request = AWSRequest(method="POST", url=f"{URL}?{query}", data=BODY.encode(), headers=plain_headers())
    yield row("version 2, in the query", request, "MissingAuthenticationTokenException")
    for scheme in ["AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=", "Bearer token", "Basic dXNlcjpwYXNz", "AWS4-HMAC-SHA256",
                   "AWS4-HMAC-SHA256 ", "AWS3-HTTPS AWSAccessKeyId=x,Algorithm=HmacSHA256,Signature=x", ""]:
        request = AWSRequest(method="POST", url=URL, data=BODY.encode(), headers=plain_headers(Authorization=scheme))
        yield row(f"Authorization {scheme!r}", request, incomplete)


def main():
    os.environ.pop("AWS_SESSION_TOKEN", None)
    folder = Path(__file__).parent.parent / "tests/data/sigv4"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {"good": good(), "bad": bad()}.items():
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")


main()
