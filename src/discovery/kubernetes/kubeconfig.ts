import { readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { SchedulerError } from '../../framework/errors.ts'
import { Field, isFault, readObject } from './objects/field.ts'

/** Reads a YAML or JSON text; never throws for what it holds. */
export type ReadDocument = (text: string) => {
  readonly value: unknown
  readonly faults: readonly { readonly line: number; readonly message: string }[]
}

/** PEM data at hand, or the file that holds it and may be replaced at any time. */
export type Pem = { readonly data: Buffer } | { readonly file: string }

/** Where the API server is and how it is spoken to. */
export interface Connection {
  /** Such as `https://10.96.0.1:443`, without a slash at the end. */
  readonly server: string
  /** Where it was found, for people. */
  readonly source: string
  readonly ca: Pem | undefined
  readonly clientCertificate: { readonly certificate: Pem; readonly key: Pem } | undefined
  /** The name that the server's certificate must have, where it is not that of the URL. */
  readonly tlsServerName: string | undefined
  /** False accepts any certificate. */
  readonly verify: boolean
  readonly token: { readonly text: string } | { readonly file: string } | undefined
  /** The namespace of the context or of this pod. */
  readonly namespace: string
}

/** What decides where the API server is found. */
export interface ConnectionSources {
  /** `--kubeconfig`; undefined when it is not given. */
  readonly kubeconfig: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readDocument: ReadDocument
  /** Folder of the service account's files; the usual one when absent. */
  readonly serviceAccountDir?: string
  /** Folder in which `.kube/config` is looked for; the user's when absent. */
  readonly home?: string
}

const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'
const MAX_KUBECONFIG_BYTES = 1024 * 1024

/**
 * Finds the API server: the flag's file, then KUBECONFIG's, then the service account of this pod, then ~/.kube/config.
 *
 * @throws {SchedulerError} START_FAILED when there is none, or what is there cannot be used
 */
export function findConnection(sources: ConnectionSources): Connection {
  const { kubeconfig, env, readDocument } = sources
  if (kubeconfig !== undefined) return fromFile(kubeconfig, `--kubeconfig ${kubeconfig}`, sources)
  const [fromEnv, second] = (env.KUBECONFIG ?? '').split(':').filter(Boolean)
  if (second !== undefined) {
    throw new SchedulerError(
      'START_FAILED',
      `KUBECONFIG names several files (${env.KUBECONFIG}); files are not merged: name one, or give --kubeconfig FILE`,
    )
  }
  if (fromEnv !== undefined) return fromFile(fromEnv, `KUBECONFIG ${fromEnv}`, sources)
  if (env.KUBERNETES_SERVICE_HOST) return inCluster(env, sources.serviceAccountDir)
  const usual = join(sources.home ?? homedir(), '.kube', 'config')
  if (statSync(usual, { throwIfNoEntry: false })) return fromFile(usual, usual, { readDocument })
  throw new SchedulerError(
    'START_FAILED',
    `no Kubernetes API server is known: not in a pod (KUBERNETES_SERVICE_HOST is not set) and no ${usual}; give --kubeconfig FILE`,
  )
}

function inCluster(env: ConnectionSources['env'], folder = SERVICE_ACCOUNT_DIR): Connection {
  const host = env.KUBERNETES_SERVICE_HOST!
  const at = host.includes(':') ? `[${host}]` : host
  return {
    server: `https://${at}:${env.KUBERNETES_SERVICE_PORT ?? '443'}`,
    source: `the service account in ${folder}`,
    ca: { file: join(folder, 'ca.crt') },
    clientCertificate: undefined,
    tlsServerName: undefined,
    verify: true,
    token: { file: join(folder, 'token') },
    namespace: readText(join(folder, 'namespace'), 'the service account').trim() || 'default',
  }
}

function fromFile(
  file: string,
  source: string,
  { readDocument }: Pick<ConnectionSources, 'readDocument'>,
): Connection {
  const { value, faults } = readDocument(readText(file, source))
  const fail = (message: string): never => {
    throw new SchedulerError('START_FAILED', `${source} cannot be used: ${message}`)
  }
  if (faults[0]) fail(`line ${faults[0].line}: ${faults[0].message}`)
  const read = readObject(value, (root) => readConfig(root, dirname(resolve(file)), source))
  return isFault(read) ? fail(read.fault) : read
}

/** The context in force of a kubeconfig. Source: client-go's clientcmd/api/v1; relative paths are relative to the file. */
function readConfig(root: Field, folder: string, source: string): Connection {
  const context = named(root, 'contexts', root.get('current-context')).get('context')
  const cluster = named(root, 'clusters', context.get('cluster')).get('cluster')
  const userName = context.get('user')
  const user = userName.present ? named(root, 'users', userName).get('user') : new Field(undefined)
  for (const key of ['exec', 'auth-provider', 'username', 'password', 'as']) {
    if (user.get(key).present) {
      user
        .get(key)
        .fail('is not supported; give the user a token, a tokenFile or a client certificate')
    }
  }
  const proxy = cluster.get('proxy-url')
  if (proxy.present) proxy.fail('is not supported; give the address of the server itself')
  const certificate = readPem(user, 'client-certificate', folder)
  const key = readPem(user, 'client-key', folder)
  if ((certificate === undefined) !== (key === undefined)) {
    user.fail('has only one of client-certificate and client-key; give both')
  }
  return {
    server: readServer(cluster.get('server')),
    source,
    ca: readPem(cluster, 'certificate-authority', folder),
    clientCertificate: certificate && key && { certificate, key },
    tlsServerName: cluster.get('tls-server-name').textOr(undefined),
    verify: cluster.get('insecure-skip-tls-verify').value !== true,
    token: readToken(user, folder),
    namespace: context.get('namespace').textOr('default'),
  }
}

function named(root: Field, list: string, name: Field): Field {
  const wanted = name.text()
  const found = root
    .get(list)
    .items()
    .find((item) => item.get('name').value === wanted)
  return found ?? name.fail(`is "${wanted}", which is not among the ${list}`)
}

function readServer(field: Field): string {
  const text = field.text()
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    field.fail(`is "${text}"; give a URL such as https://10.0.0.1:6443`)
  }
  return text.replace(/\/+$/, '')
}

function readPem(holder: Field, key: string, folder: string): Pem | undefined {
  const data = holder.get(`${key}-data`)
  if (data.present) return { data: Buffer.from(data.secret(), 'base64') }
  const file = holder.get(key)
  return file.present ? { file: resolve(folder, file.text()) } : undefined
}

function readToken(user: Field, folder: string): Connection['token'] {
  const file = user.get('tokenFile')
  if (file.present) return { file: resolve(folder, file.text()) }
  const token = user.get('token')
  return token.present ? { text: token.secret() } : undefined
}

function readText(file: string, source: string): string {
  try {
    const size = statSync(file).size
    if (size > MAX_KUBECONFIG_BYTES) {
      throw new Error(`${size} bytes are more than the ${MAX_KUBECONFIG_BYTES} allowed`)
    }
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new SchedulerError('START_FAILED', `${source}: cannot read ${file}: ${reason}`, { cause })
  }
}
