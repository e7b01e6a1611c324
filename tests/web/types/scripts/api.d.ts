// As app.d.ts, but for the few functions that take and give plain things.
export const api: {
  apiURL(path: string): string;
  fileURL(path: string): string;
  fetchApi(path: string, options?: RequestInit): Promise<Response>;
  addEventListener(type: string, listener: (event: CustomEvent<any>) => void): void;
  removeEventListener(type: string, listener: (event: CustomEvent<any>) => void): void;
  clientId?: string;
  [name: string]: any;
};
