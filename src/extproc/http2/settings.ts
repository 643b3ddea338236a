import {
  ConnectionError,
  DEFAULT_FRAME_BYTES,
  ERROR,
  FRAME,
  frame,
  MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
  need,
  SETTING,
} from './protocol.ts'

/** Identifier (2 bytes), value (4). */
const SETTING_BYTES = 6
/** HTTP/2 has six, its extensions a few more. */
const MAX_SETTINGS = 32

/** A frame that tells values, from 0 to 2^32 - 1, by the numbers of their settings (`SETTING`). */
export function settingsFrame(settings: ReadonlyMap<number, number>): Buffer {
  const payload = Buffer.allocUnsafe(settings.size * SETTING_BYTES)
  let at = 0
  for (const [id, value] of settings) {
    at = payload.writeUInt16BE(id, at)
    at = payload.writeUInt32BE(value, at)
  }
  return frame(FRAME.settings, 0, 0, payload)
}

/**
 * The settings of the payload `bytes[start, end)`, numbers and values, in their order; unknown ones too. Source: RFC 9113,
 * section 6.5.
 *
 * @throws {ConnectionError} where they are cut short, one is out of its range, or there are more than anybody needs
 */
export function readSettings(bytes: Buffer, start: number, end: number): [number, number][] {
  const count = (end - start) / SETTING_BYTES
  need(Number.isInteger(count), ERROR.frameSize, 'settings are cut short')
  need(count <= MAX_SETTINGS, ERROR.enhanceYourCalm, 'too many settings come at once')
  const settings: [number, number][] = []
  for (let at = start; at < end; at += SETTING_BYTES) {
    const id = bytes.readUInt16BE(at)
    const value = bytes.readUInt32BE(at + 2)
    if (id === SETTING.initialWindowSize && value > MAX_WINDOW_BYTES) {
      throw new ConnectionError(ERROR.flowControl, `a window of ${value} bytes is too large`)
    }
    const isFrameSize = id === SETTING.maxFrameSize
    if (
      (id === SETTING.enablePush && value > 1) ||
      (isFrameSize && (value < DEFAULT_FRAME_BYTES || value > MAX_FRAME_BYTES))
    ) {
      throw new ConnectionError(ERROR.protocol, `setting ${id} cannot be ${value}`)
    }
    settings.push([id, value])
  }
  return settings
}
