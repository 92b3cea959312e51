"""Uploads files as XMPP clients do (XEP-0363), for the end-to-end tests.

Reads one JSON object from standard input:

    {"server": [host, port],
     "users": [{"jid", "password", "jobs": [{"name", "size", "seed",
                "announce", "type", "expect"}]}]}

All users work at the same time, each does its jobs one after another over one
XMPP connection and one HTTP session. "announce" is the content type of the
request and "type" that of the PUT: null leaves it out. "expect" makes the PUT
wait for "100 Continue".

Writes a list of results for each user, in the same order:

    {"condition"} if the XMPP server refused, such as "wait resource-constraint",
    else {"put", "get"} and {"status", "body", "sha256"}, or {"failure"} if the
    PUT had no answer; always with "seconds", the time the XMPP server took.
"""

import asyncio
import hashlib
import json
import random
import sys
import time
from xml.etree import ElementTree

import aiohttp
from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout

UPLOAD = 'urn:xmpp:http:upload:0'
BLOCK = 1 << 20
PATIENCE = 30  # seconds for an answer of the XMPP server


def content(seed, size):
    """Yields size bytes that depend on seed, with no two blocks alike."""
    block = random.Random(seed).randbytes(BLOCK)
    for start in range(0, size, BLOCK):
        number = start.to_bytes(8, 'big') if start else b''
        yield (number + block[len(number):])[:size - start]


async def login(user, server):
    """Returns a connected client."""
    client = ClientXMPP(user['jid'], user['password'])
    client.register_plugin('xep_0030')
    ready = asyncio.get_running_loop().create_future()

    def fail(reason):
        if not ready.done():
            ready.set_exception(ConnectionError(f"{user['jid']}: {reason}"))

    client.add_event_handler('session_start', lambda _: ready.done() or ready.set_result(None))
    client.add_event_handler('failed_all_auth', lambda _: fail('wrong password'))
    client.add_event_handler('connection_failed', fail)
    client.connect(tuple(server), disable_starttls=True, force_starttls=False)
    await asyncio.wait_for(ready, PATIENCE)
    return client


async def find_service(client):
    """Returns the JID of the upload service, found by service discovery."""
    disco = client['xep_0030']
    items = await disco.get_items(jid=client.boundjid.domain, timeout=PATIENCE)
    for jid, _, _ in items['disco_items']['items']:
        info = await disco.get_info(jid=jid, timeout=PATIENCE)
        if UPLOAD in info['disco_info']['features']:
            return jid
    raise LookupError('the server offers no upload service')


async def request_slot(client, service, job):
    """Returns the URLs for PUT and GET."""
    request = ElementTree.Element(f'{{{UPLOAD}}}request', {
        'filename': job['name'],
        'size': str(job['size']),
    })
    if job.get('announce') is not None:
        request.set('content-type', job['announce'])
    iq = client.make_iq_get(ito=service)
    iq.append(request)
    answer = await iq.send(timeout=PATIENCE)
    slot = answer.xml.find(f'{{{UPLOAD}}}slot')
    return [slot.find(f'{{{UPLOAD}}}{way}').get('url') for way in ('put', 'get')]


async def put(session, url, job):
    """Uploads the content of a job in a stream."""
    digest = hashlib.sha256()

    async def stream():
        for block in content(job['seed'], job['size']):
            digest.update(block)
            yield block

    headers = {'Content-Length': str(job['size'])}
    if job.get('type') is not None:
        headers['Content-Type'] = job['type']
    async with session.put(url, data=stream(), headers=headers,
                           expect100=job.get('expect', False),
                           skip_auto_headers=['Content-Type']) as response:
        return {
            'status': response.status,
            'body': await response.text(),
            'sha256': digest.hexdigest(),
        }


async def run(client, service, session, job):
    """Does one job and returns its result."""
    start = time.monotonic()
    try:
        put_url, get_url = await request_slot(client, service, job)
    except IqTimeout:
        return {'condition': 'timeout', 'seconds': time.monotonic() - start}
    except IqError as err:
        return {'condition': f'{err.etype} {err.condition}', 'seconds': time.monotonic() - start}
    result = {'put': put_url, 'get': get_url, 'seconds': time.monotonic() - start}
    try:
        return result | await put(session, put_url, job)
    except (aiohttp.ClientError, asyncio.TimeoutError) as err:
        return result | {'failure': repr(err)}


async def work(user, server):
    client = await login(user, server)
    service = await find_service(client)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        results = [await run(client, service, session, job) for job in user['jobs']]
    await client.disconnect()
    return results


async def main():
    task = json.load(sys.stdin)
    results = await asyncio.gather(*(work(user, task['server']) for user in task['users']))
    json.dump(results, sys.stdout)


asyncio.run(main())
