import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { Command } from 'commander'
import { goFlags } from '../../src/cli/go-flags.ts'
import { addServeOptions, serveOptions } from '../../src/cli/serve-options.ts'
import { type Manifest, only, readManifests } from './tools.ts'

/** Every file that holds a rendered picker. */
export const PICKERS: readonly string[] = [
  ...readdirSync('deploy/manifests').map((file) => `deploy/manifests/${file}`),
  ...['deploy/ack/picker.yaml', 'deploy/llm-d/picker.yaml'],
]

export const preset = (name: string): readonly Manifest[] =>
  readManifests(`deploy/manifests/${name}.yaml`)

/** The picker's container. */
export const picker = (objects: readonly Manifest[]): Manifest =>
  only(objects, 'Deployment').spec.template.spec.containers.find(
    ({ name }: Manifest) => name === 'epp',
  )

/** What `serve` makes of a container's arguments. */
export function served(args: readonly string[]) {
  const [, ...rest] = goFlags(args)
  const command = addServeOptions(new Command()).exitOverride()
  command.parse(rest, { from: 'user' })
  assert.deepEqual(command.args, [])
  return serveOptions(command.opts(), {})
}
