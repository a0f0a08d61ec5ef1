/** The artifact of models that is made with the encoder: Python's default. */
export const models: string
/** The encoder that artifacts of models and of tasks name. */
export const encoder: string
/** The encoder of routes and tools. */
export const sentences: string
/** The classifier of tasks. */
export const tasks: string
