// Starts own-template-worker.ts from its source, as ../encode-worker-tsx.mjs does its own.
import { register } from 'tsx/esm/api'

register()
await import('./own-template-worker.ts')
