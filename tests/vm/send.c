// send INTERFACE MAC CLIENT SERVER PORT syn|ack FLOWS COUNT
//
// Sends COUNT TCP segments to a server's port, of FLOWS connections by turns (20000 source ports to a client's
// address), and prints the nanoseconds that each took.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 32, LENGTH = 60, MOST = 65536, PORTS = 20000 };

static unsigned char frames[MOST][64];

static unsigned sum(const void *data, int length, unsigned start) {
    const unsigned char *bytes = data;
    for (int i = 0; i + 1 < length; i += 2) start += bytes[i] << 8 | bytes[i + 1];
    return start;
}

static unsigned short fold(unsigned sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return htons(~sum & 0xffff);
}

static void build(unsigned char *frame, const char *mac, unsigned client, unsigned server, int port, int syn, int flow) {
    const int length = LENGTH - sizeof(struct ethhdr);
    struct iphdr *ip = (void *)(frame + sizeof(struct ethhdr));
    struct tcphdr *tcp = (void *)(ip + 1);
    sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", frame, frame + 1, frame + 2, frame + 3, frame + 4, frame + 5);
    frame[6] = 2, frame[11] = 1, frame[12] = 8, frame[13] = 0;
    *ip = (struct iphdr){ .version = 4, .ihl = 5, .tot_len = htons(length), .ttl = 64, .protocol = IPPROTO_TCP };
    ip->saddr = htonl(client + flow / PORTS), ip->daddr = server;
    ip->check = fold(sum(ip, sizeof *ip, 0));
    tcp->source = htons(1024 + flow % PORTS), tcp->dest = htons(port), tcp->seq = htonl(1), tcp->doff = 5;
    tcp->window = htons(1024), tcp->syn = syn, tcp->ack = !syn, tcp->ack_seq = syn ? 0 : htonl(1);
    tcp->check = fold(sum(tcp, length - sizeof *ip, sum(&ip->saddr, 8, 0) + IPPROTO_TCP + length - sizeof *ip));
}

int main(int count, char **words) {
    if (count != 9) return 2;
    int syn = !strcmp(words[6], "syn"), flows = atoi(words[7]), wanted = atoi(words[8]);
    if (flows < 1 || flows > MOST) return 2;
    for (int flow = 0; flow < flows; flow++)
        build(frames[flow], words[2], ntohl(inet_addr(words[3])), inet_addr(words[4]), atoi(words[5]), syn, flow);
    int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;
    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one);
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(words[1]), .sll_protocol = htons(ETH_P_IP) };
    if (fd < 0 || bind(fd, (void *)&at, sizeof at)) { perror(words[1]); return 1; }
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) messages[i].msg_hdr.msg_iov = &parts[i], messages[i].msg_hdr.msg_iovlen = 1;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int sent = 0; sent < wanted;) {
        int batch = wanted - sent < BATCH ? wanted - sent : BATCH;
        for (int i = 0; i < batch; i++) parts[i] = (struct iovec){ frames[(sent + i) % flows], LENGTH };
        int done = sendmmsg(fd, messages, batch, 0);
        if (done <= 0) { perror("sendmmsg"); return 1; }
        sent += done;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.0f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / wanted);
    return 0;
}
