import { dashboardFile } from './dashboard-files.ts'
import { decisionJson } from './decision-json.ts'
import { explainRoute } from './explain-route.ts'
import { overview } from './overview.ts'
import { type Answer, compactJson, json, type Route, text } from './route.ts'
import type { AdminSources } from './sources.ts'

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1000

/** The pages that there are. */
export function routesOf(sources: AdminSources): readonly Route[] {
  const { decisions } = sources
  const routes: readonly Route[] = [
    {
      ...{ method: 'GET', path: '/metrics', access: 'all', shown: '/metrics' },
      answer: async () => ({
        status: 200,
        type: sources.metricsContentType,
        body: await sources.metricsText(),
      }),
    },
    {
      ...{ method: 'GET', path: '/healthz', access: 'all', shown: '/healthz' },
      answer: () => text(200, 'ok\n'),
    },
    {
      ...{ method: 'GET', path: '/readyz', access: 'all', shown: '/readyz?verbose' },
      answer: ({ url }) => readiness(sources, url.searchParams.has('verbose')),
    },
    {
      ...{ method: 'GET', path: '/', access: 'shell', shown: '/ (a dashboard in a browser)' },
      answer: async ({ request }) => {
        const isBrowser = request.headers.accept?.includes('text/html') ?? false
        return (isBrowser && (await dashboardFile('index.html'))) || text(200, listOf(routes))
      },
    },
    {
      ...{ method: 'GET', path: '/dashboard/', access: 'shell' },
      answer: async ({ rest }) => (await dashboardFile(rest)) ?? unknownPage(routes),
    },
    {
      ...{ method: 'GET', path: '/overview', access: 'reader', shown: '/overview' },
      answer: ({ url }) => compactJson(overview(sources, wholeNumber(url, 'after', 0))),
    },
    {
      ...{ method: 'GET', path: '/endpoints', access: 'reader', shown: '/endpoints' },
      answer: () => json(200, sources.endpoints()),
    },
    {
      ...{ method: 'GET', path: '/decisions', access: 'reader', shown: '/decisions' },
      answer: ({ url }) => {
        const limit = Math.min(wholeNumber(url, 'limit', DEFAULT_LIMIT), MAX_LIMIT)
        return json(200, decisions.list(limit).map(decisionJson))
      },
    },
    {
      ...{ method: 'GET', path: '/decisions/', access: 'reader' },
      shown: '/decisions/<x-request-id>',
      answer: ({ rest }) => {
        const decision = decisions.find(rest)
        if (decision)
          return json(200, {
            ...decisionJson(decision),
            explanation: sources.explanation(decision),
          })
        return json(404, { error: `no decision for request "${rest}" among the last ones kept` })
      },
    },
    explainRoute(sources),
    {
      ...{ method: 'GET', path: '/config', access: 'reader', shown: '/config' },
      answer: () => {
        const pages = sources.configurations()
        return json(200, pages.length === 1 ? pages[0] : pages)
      },
    },
  ]
  return routes
}

/** What there is to ask for, a line each. */
export function listOf(routes: readonly Route[]): string {
  return routes.flatMap(({ shown }) => (shown === undefined ? [] : [`${shown}\n`])).join('')
}

export function unknownPage(routes: readonly Route[]): Answer {
  const pages = listOf(routes).trim().split('\n').join(', ')
  return json(404, { error: `no such page; there are: ${pages}` })
}

function readiness(sources: AdminSources, verbose: boolean): Answer {
  const checks = sources.ready()
  const isReady = checks.every(({ ok }) => ok)
  const lines = verbose
    ? [
        ...checks.map(({ name, ok, detail }) => `[${ok ? '+' : '-'}] ${name}: ${detail}`),
        ...sources
          .notices()
          .map(
            ({ key, text: words, sinceEpochMs }) =>
              `[!] ${key}: ${words} (since ${new Date(sinceEpochMs).toISOString()})`,
          ),
      ]
    : []
  const body = [...lines, isReady ? 'ready' : 'not ready'].join('\n')
  return text(isReady ? 200 : 503, `${body}\n`)
}

/** A parameter that is a whole number above 0; else the default. */
function wholeNumber(url: URL, name: string, otherwise: number): number {
  const given = Number(url.searchParams.get(name) ?? otherwise)
  return Number.isSafeInteger(given) && given > 0 ? given : otherwise
}
