using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
// README: begin
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

WebApplicationBuilder builder = WebApplication.CreateBuilder(args);
builder.Services.AddLowLevelMemoryPool();                 // Kestrel's buffers come from an arena; options => ... sets its options
WebApplication app = builder.Build();
app.MapGet("/", () => "Hello");
// README: end

// Bytes of the arena that were ever used, which is none until Kestrel takes its first buffer from it.
app.MapGet("/used", (ArenaMemoryPoolFactory pools) =>
{
    ArenaStatistics now = pools.Arena.GetStatistics();
    return now.ReservedBytes - now.UnreachedBytes;
});

// README: begin
app.Run();
// README: end
