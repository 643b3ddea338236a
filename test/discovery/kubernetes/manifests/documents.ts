import { readFileSync } from 'node:fs'
import { readDocuments } from '../../../../src/config/document.ts'

/** The manifests that a document shows its reader, by the file names that it gives them. */
export function documentManifests(name: 'ack-precise-mode' | 'ack-article'): Map<string, string> {
  const paragraphs = readFileSync(`test/fixtures/documents/${name}.txt`, 'utf8').split(/\n\s*\n/)
  const manifests = new Map<string, string>()
  for (const paragraph of paragraphs) {
    if (!/^ *apiVersion: /m.test(paragraph)) continue
    const [indent] = /^ *(?=apiVersion: )/m.exec(paragraph)!
    // The numbered step that follows a block stands further to the left.
    const lines = paragraph.split('\n').filter((line) => line.startsWith(indent))
    const text = `${lines.map((line) => line.slice(indent.length)).join('\n')}\n`
    const file = FILES.find(({ kind }) => new RegExp(`^kind: ${kind}$`, 'm').test(text))
    manifests.set(file?.name ?? `${name}-${manifests.size}.yaml`, text)
  }
  return manifests
}

const FILES = [
  { kind: 'Secret', name: 'llm-model.yaml' },
  { kind: 'Deployment', name: 'vllm.yaml' },
  { kind: 'InferencePool', name: 'inference-policy.yaml' },
  { kind: 'Gateway', name: 'inference-gateway.yaml' },
]

/** The command string of a document's vLLM container, as its pod has it. */
export function documentCommand(name: 'ack-precise-mode' | 'ack-article'): string {
  const [deployment] = readDocuments(documentManifests(name).get('vllm.yaml')!)
  const { spec } = deployment!.value as {
    spec: { template: { spec: { containers: { command: string[] }[] } } }
  }
  return spec.template.spec.containers[0]!.command[2]!
}
