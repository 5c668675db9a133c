// The one place that names k6's WebSocket module: k6 1.1 has it under
// `experimental`, newer ones as `k6/websockets`.
export { WebSocket } from 'k6/experimental/websockets';
