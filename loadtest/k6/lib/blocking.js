// A socket that stops reading: `k6/ws` takes the next frame from the connection
// only when the handler of the last one has returned, so a handler that sleeps
// fills the kernel's buffers and then the server's. One socket per virtual user.
export { default as ws } from 'k6/ws';
