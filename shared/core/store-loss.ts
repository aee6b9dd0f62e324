// Why what the store holds is not followed. `lost`: nothing is heard of it. `older`: it answers, with a lower revision than before, which
// linearizable reads of one store never do. So it is another store, or an older copy of it, and what it holds is not taken for news.

export interface StoreLoss {
  readonly kind: 'lost' | 'older';
  readonly detail: string;
}
