import { readFileSync } from 'node:fs'

/** One instruction that changes files. */
export type Step =
  | { readonly kind: 'run'; readonly command: string }
  | {
      readonly kind: 'copy'
      /** Name of an earlier stage; undefined is the folder of the Dockerfile. */
      readonly from: string | undefined
      readonly sources: readonly string[]
      readonly target: string
    }

/** What stands between two FROM lines. */
export interface Stage {
  readonly image: string
  readonly name: string | undefined
  readonly workdir: string
  readonly env: Readonly<Record<string, string>>
  readonly user: string | undefined
  readonly steps: readonly Step[]
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
}

type Draft = { -readonly [key in keyof Stage]: Stage[key] } & { steps: Step[] }

/** Reads the Dockerfile, so far as this project uses its language; anything else throws. */
export function parseDockerfile(): {
  readonly stages: readonly Stage[]
  /** First parts of the paths that .dockerignore keeps out. */
  readonly ignored: readonly string[]
} {
  const stages: Draft[] = []
  for (const line of logicalLines(readFileSync('Dockerfile', 'utf8'))) {
    const [instruction, rest] = split(line)
    if (instruction === 'FROM') {
      const [image, as, name] = rest.split(/\s+/)
      if (as !== undefined && as.toUpperCase() !== 'AS') throw new Error(`not understood: ${line}`)
      stages.push({
        ...{ image: image!, name, workdir: '/', env: {}, user: undefined },
        ...{ steps: [], entrypoint: [], command: [] },
      })
      continue
    }
    const stage = stages.at(-1)
    if (stage === undefined) throw new Error(`before the first FROM: ${line}`)
    apply(stage, instruction, rest)
  }
  const ignored = readFileSync('.dockerignore', 'utf8').split('\n').filter(Boolean)
  return { stages, ignored }
}

function apply(stage: Draft, instruction: string, rest: string): void {
  switch (instruction) {
    case 'WORKDIR':
      stage.workdir = rest
      return
    case 'ENV':
      for (const pair of rest.split(/\s+/)) {
        const [name, value] = pair.split('=')
        stage.env = { ...stage.env, [name!]: value ?? '' }
      }
      return
    case 'USER':
      stage.user = rest
      return
    case 'RUN':
      stage.steps.push({ kind: 'run', command: rest })
      return
    case 'COPY': {
      const words = rest.split(/\s+/)
      const from = words[0]?.startsWith('--from=') ? words.shift()!.slice(7) : undefined
      if (words.some((word) => /^--|[*?[]/.test(word))) throw new Error(`not understood: ${rest}`)
      const target = words.pop()!
      stage.steps.push({ kind: 'copy', from, sources: words, target })
      return
    }
    case 'ENTRYPOINT':
      stage.entrypoint = JSON.parse(rest) as string[]
      return
    case 'CMD':
      stage.command = JSON.parse(rest) as string[]
      return
    case 'LABEL':
    case 'EXPOSE':
      return
    default:
      throw new Error(`not understood: ${instruction} ${rest}`)
  }
}

/** Lines without comments, with those that end in a backslash joined to the next. */
function logicalLines(text: string): readonly string[] {
  return text
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

function split(line: string): [string, string] {
  const [, instruction, rest] = /^(\S+)\s+(.*)$/.exec(line) ?? []
  if (instruction === undefined) throw new Error(`not understood: ${line}`)
  return [instruction.toUpperCase(), rest!]
}
