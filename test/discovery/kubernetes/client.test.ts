import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generate } from 'selfsigned'
import { readDocument } from '../../../src/config/document.ts'
import { KubeClient } from '../../../src/discovery/kubernetes/client.ts'
import { findConnection } from '../../../src/discovery/kubernetes/kubeconfig.ts'
import { SchedulerError } from '../../../src/framework/errors.ts'
import { until } from '../../datalayer/telemetry.ts'
import { ApiServer } from './api-server.ts'
import { clientOf, podObject } from './cluster.ts'

const PODS = '/api/v1/namespaces/default/pods'
const SECRET = 'very-secret-token'

async function certificate(name: string) {
  const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
    ...{ keyType: 'ec', curve: 'P-256', algorithm: 'sha256' },
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] },
    ],
  } as Parameters<typeof generate>[1])
  return { cert, key }
}

describe('KubeClient', () => {
  let folder: string
  const closers: (() => unknown)[] = []
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-client-'))
  })
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close()
    rmSync(folder, { recursive: true })
  })
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const serve = async (...options: ConstructorParameters<typeof ApiServer>) => {
    const server = new ApiServer(...options)
    await server.start()
    closers.push(() => server.close())
    return server
  }
  const open = (kubeconfig: string) => {
    const client = KubeClient.open({ kubeconfig, readDocument }, { answerMs: 2000 })
    closers.push(() => client.close())
    return client
  }

  it('asks 150 times over one connection', async () => {
    const server = await serve()
    const client = clientOf(server)
    closers.push(() => client.close())
    for (let i = 0; i < 150; i++) assert.ok((await client.list(PODS, { limit: '1' })).value)
    assert.equal(server.connections, 1)
  })

  it('speaks TLS with the CA of the kubeconfig, and over one connection', async () => {
    const server = await serve({ tls: await certificate('api'), token: SECRET })
    server.apply(podObject('a', '10.0.0.1'))
    const client = open(server.kubeconfigFile())
    for (let i = 0; i < 20; i++) {
      assert.equal((await client.list(PODS, {})).value?.items.length, 1)
    }
    assert.equal(server.connections, 1)
  })

  it('shows a client certificate', async () => {
    const tls = await certificate('api')
    const user = await certificate('user')
    const server = await serve({ tls: { ...tls, clientCa: user.cert } })
    const config = server.kubeconfigFile({
      'client-certificate-data': Buffer.from(user.cert).toString('base64'),
      'client-key': file('client.key', user.key),
    })
    assert.ok((await open(config).get(PODS)).value)
    assert.ok((await open(server.kubeconfigFile({})).get(PODS)).problem)
  })

  it('refuses a certificate of another CA, until the CA file is replaced', async () => {
    const [tls, other] = [await certificate('api'), await certificate('other')]
    const server = await serve({ tls, token: SECRET })
    const config = (verify: boolean) =>
      file(
        `config-${verify}.yaml`,
        [
          'current-context: c',
          'contexts: [{ name: c, context: { cluster: k, user: u, namespace: models } }]',
          `clusters: [{ name: k, cluster: { server: ${server.url}, ${verify ? 'certificate-authority: ca.crt' : 'insecure-skip-tls-verify: true'} } }]`,
          `users: [{ name: u, user: { token: ${SECRET} } }]`,
        ].join('\n'),
      )
    file('ca.crt', other.cert)
    const client = open(config(true))
    assert.equal(client.namespace, 'models')
    assert.equal((await client.get(PODS)).problem?.reason, 'certificate')
    assert.ok((await open(config(false)).get(PODS)).value)
    file('ca.crt', tls.cert)
    assert.ok((await client.get(PODS)).value)
  })

  it('reads the token file for each request', async () => {
    const server = await serve({ token: 'one' })
    const client = open(server.kubeconfigFile({ tokenFile: file('token', 'one\n') }))
    assert.ok((await client.get(PODS)).value)
    server.token = 'two'
    assert.equal((await client.get(PODS)).problem?.reason, 'unauthorized')
    file('token', 'two')
    assert.ok((await client.get(PODS)).value)
    rmSync(join(folder, 'token'))
    assert.equal((await client.get(PODS)).problem?.reason, 'credentials')
  })

  it('says no token in any problem', async () => {
    const server = await serve({ token: 'another' })
    const texts: unknown[] = []
    for (const token of [SECRET, `${SECRET}\nwith a line`, `${SECRET}é\u0000`]) {
      const ask = open(server.kubeconfigFile({ token }))
      texts.push((await ask.get(PODS)).problem)
      const ofFile = open(server.kubeconfigFile({ tokenFile: file('token', token) }))
      texts.push((await ofFile.get(PODS)).problem)
    }
    await server.stop()
    texts.push((await open(server.kubeconfigFile({ token: SECRET })).get(PODS)).problem)
    assert.ok(texts.every((text) => text !== undefined))
    assert.doesNotMatch(JSON.stringify(texts), new RegExp(SECRET))
  })

  it('bounds an answer, and says what is no list', async () => {
    const server = await serve()
    server.apply(podObject('a', '10.0.0.1'))
    const small = clientOf(server, { maxAnswerBytes: 100 })
    closers.push(() => small.close())
    assert.equal((await small.list(PODS, {})).problem?.reason, 'too_large')
    const client = clientOf(server)
    closers.push(() => client.close())
    assert.equal((await client.list(`${PODS}/a`, {})).problem?.reason, 'malformed')
    assert.deepEqual((await client.list(`${PODS}/b`, {})).problem, {
      reason: 'not_found',
      text: '404 Not Found: pods "b" not found',
    })
  })

  it('creates and updates, and tells a conflict', async () => {
    const server = await serve()
    const client = clientOf(server)
    closers.push(() => client.close())
    const made = await client.create(PODS, podObject('a', '10.0.0.1'))
    assert.ok(made.value)
    assert.equal(
      (await client.create(PODS, podObject('a', '10.0.0.1'))).problem?.reason,
      'conflict',
    )
    assert.ok((await client.update(`${PODS}/a`, made.value)).value)
    assert.equal((await client.update(`${PODS}/a`, made.value)).problem?.reason, 'conflict')
  })

  it('gives up on a server that does not answer, and stops at once when asked', async () => {
    const server = await serve()
    server.frozen = true
    const client = clientOf(server, { answerMs: 50 })
    closers.push(() => client.close())
    assert.equal((await client.get(PODS)).problem?.reason, 'silent')
    const slow = clientOf(server)
    const stop = new AbortController()
    const asked = slow.get(PODS, stop.signal)
    await until('it is asked', () => server.connections > 0)
    stop.abort()
    assert.equal((await asked).problem?.reason, 'stopped')
    slow.close()
  })
})

describe('findConnection', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-kubeconfig-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const config = (name: string, user: object = { token: SECRET }, cluster: object = {}) => {
    const path = join(folder, name)
    writeFileSync(
      path,
      JSON.stringify({
        'current-context': 'c',
        contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
        clusters: [{ name: 'k', cluster: { server: `https://${name}:6443/`, ...cluster } }],
        users: [{ name: 'u', user }],
      }),
    )
    return path
  }
  const pod = () => {
    for (const [name, text] of [
      ['token', SECRET],
      ['ca.crt', 'pem'],
      ['namespace', 'models\n'],
    ] as const) {
      writeFileSync(join(folder, name), text)
    }
    return { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }
  }
  const find = (kubeconfig: string | undefined, env: Readonly<Record<string, string>>) =>
    findConnection({
      ...{ kubeconfig, env, readDocument, serviceAccountDir: folder, home: folder },
    })
  const fault = (act: () => unknown): string => {
    try {
      act()
    } catch (error) {
      assert.ok(error instanceof SchedulerError)
      assert.equal(error.code, 'START_FAILED')
      assert.doesNotMatch(error.message, new RegExp(SECRET))
      return error.message
    }
    throw new Error('nothing was thrown')
  }

  it('takes the flag, then KUBECONFIG, then the pod, then the home folder', () => {
    const [flag, env] = [config('flag'), { KUBECONFIG: config('env') }]
    mkdirSync(join(folder, '.kube'))
    writeFileSync(join(folder, '.kube', 'config'), JSON.stringify({}))
    assert.equal(find(flag, { ...env, ...pod() }).server, 'https://flag:6443')
    assert.equal(find(undefined, { ...env, ...pod() }).server, 'https://env:6443')
    const inPod = find(undefined, pod())
    assert.equal(inPod.server, 'https://[fd00::1]:443')
    assert.equal(inPod.namespace, 'models')
    assert.deepEqual(inPod.token, { file: join(folder, 'token') })
    assert.match(
      fault(() => find(undefined, {})),
      /\.kube\/config cannot be used: current-context is missing/,
    )
    rmSync(join(folder, '.kube'), { recursive: true })
    assert.match(
      fault(() => find(undefined, {})),
      /give --kubeconfig FILE/,
    )
  })

  const wrong: readonly (readonly [string, () => string, RegExp])[] = [
    ['a file that is not there', () => join(folder, 'none'), /cannot read .*none: ENOENT/],
    [
      'text that is no YAML',
      () => {
        writeFileSync(join(folder, 'bad'), 'a: [')
        return join(folder, 'bad')
      },
      /line 1/,
    ],
    [
      'an exec user',
      () => config('x', { exec: { command: 'aws' } }),
      /users\[0\]\.user\.exec is not supported; give the user a token/,
    ],
    [
      'an auth provider',
      () => config('x', { 'auth-provider': { name: 'oidc' } }),
      /auth-provider is not supported/,
    ],
    [
      'a certificate without its key',
      () => config('x', { 'client-certificate': 'c' }),
      /has only one of client-certificate and client-key/,
    ],
    ['a token that is no text', () => config('x', { token: 5 }), /token must be a text/],
    [
      'a server that is no URL',
      () => config('x', {}, { server: 'somewhere' }),
      /give a URL such as/,
    ],
    ['a proxy', () => config('x', {}, { 'proxy-url': 'http://p' }), /proxy-url is not supported/],
  ]
  for (const [what, path, message] of wrong) {
    it(`refuses ${what}`, () =>
      assert.match(
        fault(() => find(path(), {})),
        message,
      ))
  }

  it('refuses several files in KUBECONFIG', () => {
    assert.match(
      fault(() => find(undefined, { KUBECONFIG: 'a:b' })),
      /files are not merged/,
    )
  })
})
